// Package clients holds no code, only tests: other programs' clients and test suites,
// each against PostgreSQL itself and through the door, in transaction and in session
// pooling. What a client does on the server must be what it does through the door.
//
// Against PostgreSQL alone (TENANTPOOL_TEST_PLACES=direct) a script proves that it is
// right itself.
//
// Some tests of the suites ask for what a pooler cannot give. testdata/*_known.txt names
// them, each with its reason; a test that fails and is not named there fails ours, and so
// does one that is named there and passes.
package clients
