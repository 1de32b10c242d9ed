package model

import "fmt"

// MaxParameters is how many parameters PostgreSQL's protocol can count.
const MaxParameters = 65535

// Query is one statement for one workspace, from a program that has no
// connection of its own.
type Query struct {
	Workspace WorkspaceID
	SQL       string
	// Args are the values of $1, $2, ...: nil, bool, json.Number, string, or JSON
	// (json.RawMessage as it is, []any and map[string]any encoded). They are bound,
	// never put into the SQL.
	Args []any
	// ReadOnly runs the statement in a read-only transaction.
	ReadOnly bool
	// MaxRows and MaxBytes bound the answer.
	MaxRows, MaxBytes int
}

// QueryResult is the answer to a Query.
type QueryResult struct {
	Columns []Column
	// Rows hold nil, bool, json.Number, string or json.RawMessage; what JSON has
	// no type for is a string in PostgreSQL's own text form.
	Rows [][]any
	// Command is the server's word for what was done, as "INSERT 0 1";
	// RowsAffected the number in it.
	Command      string
	RowsAffected int64
	// Truncated: MaxRows or MaxBytes cut the rows.
	Truncated bool
	// Notices are the server's warnings and notices about the statement, the first 20,
	// each cut at 2 KiB; NoticesLost is how many more there were.
	Notices     []Notice
	NoticesLost int
}

// Notice is what the server said about a statement that it did not refuse.
type Notice struct {
	// Severity is WARNING, NOTICE, INFO, LOG or DEBUG, whatever the server's language.
	Severity string
	// Code is the SQLSTATE.
	Code, Message, Detail, Hint string
	// Cut: the texts were longer.
	Cut bool
}

// Column is a column of a QueryResult, with PostgreSQL's name for its type.
type Column struct {
	Name, Type string
}

// SQLError is what the server said about a statement.
type SQLError struct {
	// Code is the SQLSTATE (PostgreSQL's manual, appendix A).
	Code, Message, Detail, Hint string
	// Position is the character in the statement, from 1; 0: none.
	Position int
}

func (e *SQLError) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code) }
