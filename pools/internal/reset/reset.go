// Package reset is the SQL that brings a server session back to how it began, but for its
// prepared statements.
package reset

import (
	"slices"
	"strings"
)

// Session is DISCARD ALL without DISCARD PLANS and DEALLOCATE ALL, which would
// take away the statements that pgx, or the door, has prepared for the connection's other
// users. Instead it fails if there are any that SQL prepared: a function or a trigger may do
// so under the name of one of those, which would then run another's SQL.
var Session = []string{
	`SET SESSION AUTHORIZATION DEFAULT`, `RESET ROLE`, `RESET ALL`, `CLOSE ALL`, `UNLISTEN *`,
	`SELECT pg_catalog.pg_advisory_unlock_all()`,
	`SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) ` +
		`THEN 'this session has statements of PREPARE, and is not used again' END::pg_catalog.int4`,
	`DISCARD TEMP`, `DISCARD SEQUENCES`,
}

// Transaction is Session as one transaction, whatever modes the session left to it by
// default: a deferrable one, for example, would wait for others.
var Transaction = slices.Concat(
	[]string{`BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE`}, Session, []string{`COMMIT`})

// Query is Transaction as one simple query. Where it fails the transaction stays open.
var Query = strings.Join(Transaction, "; ")
