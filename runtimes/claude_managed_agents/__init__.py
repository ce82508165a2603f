"""Any server that speaks the Claude Managed Agents API: Anthropic's, or a second Waystation."""
