"""The words on the wire: identifiers, timestamps, errors and pagination. No I/O lives here."""
