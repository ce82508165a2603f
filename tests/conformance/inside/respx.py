"""The name that the tests of downloads import, for their annotations only: see `sdk_clients.Unmocked`."""


class MockRouter: ...
