package pools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// Query runs one statement in the workspace's database, for a program that has no
// connection of its own. It blocks as Acquire does, and then until the answer is
// complete; when ctx is done the server is told to stop.
//
// The server infers the types of the parameters, and answers with text, which is
// turned into what JSON has: bool; whole and floating-point numbers as
// json.Number, so that no digit is lost (NaN and Infinity as strings); json and
// jsonb as json.RawMessage; NULL as nil; and everything else, numeric included, as
// the string that the server sends. A statement that speaks more of the protocol
// than that (COPY) ends in an error.
//
// With q.ReadOnly the statement runs in a read-only transaction that is rolled
// back. Otherwise it is a transaction of its own.
//
// At q.MaxRows the server stops: it computes no more rows of a SELECT, whereas
// INSERT, UPDATE, DELETE and MERGE with RETURNING have done all their work. At
// q.MaxBytes (of the values as text in JSON, at least 24 for each) a statement with
// q.ReadOnly is cancelled; of another one the rest of the rows is thrown away, so that
// what it did is kept. After 64 MiB of that it is cancelled, too, and if that undoes it
// the error has SQLSTATE 54000, as for a single row that is megabytes larger than
// q.MaxBytes. A truncated result may be without Command and RowsAffected. Zero is no
// limit.
//
// A statement leaves nothing behind that a later one could notice. The commands that
// are about nothing else are refused, with SQLSTATE 0A000 and what to do instead:
// those of transactions, cursors and prepared statements, LOCK, SET, RESET, DISCARD,
// LOAD, LISTEN and UNLISTEN. What others leave ends with them: settings of set_config,
// temporary tables, advisory locks. The connection is closed after
// one that touched prepared statements, or might have (DO, CALL, or a function that
// prepared one), or that was notified of something. Two calls therefore share nothing
// but the data. (A function that deallocates one of pgx's statements costs the next who
// uses it an error. What an extension keeps in the session, as dblink its connections,
// stays.)
//
// What earlier holders of the connection left in its session is undone first, in the
// same round trip, and LISTEN with it. If that fails, or if they left a statement of
// SQL's PREPARE, the connection is closed and the statement runs on another one.
// Beyond reach are libraries that they loaded (LOAD), the seed of random(), and the
// statements that they prepared through pgx, which EXECUTE finds.
//
// The error wraps a *model.SQLError when the server refused the statement; ctx.Err()
// when ctx ended it; model.ErrConnectionLost when the connection broke, and the
// statement may have been carried out; and is otherwise one of Acquire's.
func (m *Manager) Query(ctx context.Context, q model.Query) (model.QueryResult, error) {
	err := refuseSessionCommand(q.SQL)
	var params [][]byte
	if err == nil {
		params, err = parameters(q)
	}
	if err != nil {
		return model.QueryResult{}, fmt.Errorf("query workspace %q: %w", q.Workspace, err)
	}
	result, lent, err := m.runClean(ctx, m.lend, q, params)
	if err != nil && lent {
		err = fmt.Errorf("query workspace %q: %w", q.Workspace, err)
	}
	return result, err
}

// runClean runs one statement in a clean session of a connection that lend lends.
// lent is false if there was none; then the error is lend's.
func (m *Manager) runClean(
	ctx context.Context, lend lender, q model.Query, params [][]byte,
) (result model.QueryResult, lent bool, err error) {
	for tries := 1; ; tries++ {
		conn, err := lend(ctx, q.Workspace, time.Time{})
		if err != nil {
			return model.QueryResult{}, false, err
		}
		result, unrun, err := m.runOn(ctx, conn, q, params)
		if err == nil || !unrun || ctx.Err() != nil || tries == triesAtMost {
			return result, true, err
		}
	}
}

// triesAtMost bounds how many connections are closed, one after the other, because
// their sessions cannot be reset. No workspace has more than that idle.
const triesAtMost = 50

// runOn runs the statement on this connection, and gives it back. unrun: it was not
// carried out, nor will be, because the session could not be prepared for it.
func (m *Manager) runOn(ctx context.Context, conn *Conn, q model.Query, params [][]byte) (result model.QueryResult, unrun bool, err error) {
	if err := m.hooks.freshen(ctx, conn.backend); err != nil {
		conn.giveUp()
		return model.QueryResult{}, true, fmt.Errorf("the statement did not run, because its session could not be prepared for it: %w", sqlError(err))
	}
	s := newStatement(conn.backend, q, params)
	defer func() {
		health := conn.backend.health()
		if health == core.Clean && !s.clean {
			health = core.Unclean
		}
		conn.backend.dirty, conn.backend.bare = !s.clean, m.hooks.AfterConnect != nil
		conn.backend.wire.noteReset()
		conn.release(health)
	}()
	if err := s.run(ctx); err != nil {
		return model.QueryResult{}, s.unrun, err
	}
	return s.result, false, nil
}

// parameters are the arguments as text; nil is NULL.
func parameters(q model.Query) ([][]byte, error) {
	if strings.ContainsRune(q.SQL, 0) {
		return nil, &model.SQLError{Code: pgerrcode.CharacterNotInRepertoire, Message: "the statement contains a NUL character, which ends it"}
	}
	if len(q.Args) > model.MaxParameters {
		return nil, &model.SQLError{Code: pgerrcode.TooManyArguments, Message: fmt.Sprintf("%d parameters are more than the %d that one statement may have", len(q.Args), model.MaxParameters)}
	}
	params := make([][]byte, len(q.Args))
	for i, arg := range q.Args {
		switch arg := arg.(type) {
		case nil:
		case bool:
			params[i] = strconv.AppendBool(nil, arg)
		case json.Number:
			params[i] = []byte(arg)
		case string:
			params[i] = append([]byte{}, arg...) // an empty one is not nil
		case json.RawMessage:
			params[i] = arg
		case []any, map[string]any:
			text, err := json.Marshal(arg)
			if err != nil {
				return nil, fmt.Errorf("parameter $%d: %w", i+1, err)
			}
			params[i] = text
		default:
			return nil, fmt.Errorf("parameter $%d is a %T; it must be nil, bool, json.Number, string, json.RawMessage, []any or map[string]any", i+1, arg)
		}
	}
	return params, nil
}

// sqlError is a server's error in the vocabulary of package model; others are
// returned as they are.
func sqlError(err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return briefly(err)
	}
	return &model.SQLError{
		Code: refused.Code, Message: refused.Message, Detail: refused.Detail, Hint: refused.Hint,
		Position: int(refused.Position),
	}
}

// jsonValue is what JSON has for a value that the server sent as text; nil is
// NULL.
func jsonValue(oid uint32, text []byte) any {
	if text == nil {
		return nil
	}
	switch oid {
	case pgtype.BoolOID:
		return string(text) == "t"
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.Float4OID, pgtype.Float8OID:
		if isNumber(text) {
			return json.Number(text)
		} // else NaN, Infinity or -Infinity
	case pgtype.JSONOID, pgtype.JSONBOID:
		if json.Valid(text) {
			return json.RawMessage(slices.Clone(text))
		} // else one value of it would spoil the whole answer
	}
	return string(text)
}

// isNumber tells whether the text is a number in JSON, with nothing around it.
func isNumber(text []byte) bool {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	return len(text) > 0 && (text[0] == '-' || digit(text[0])) && digit(text[len(text)-1]) && json.Valid(text)
}

// nameTypes names the columns' types. Those that pgx does not know, as a database's
// own, are asked for; one that cannot be had is named by its number.
func (s *statement) nameTypes(ctx context.Context) {
	var unknown []uint32
	for i, oid := range s.oids {
		s.result.Columns[i].Type = s.typeName(oid)
		if s.result.Columns[i].Type == "" && !slices.Contains(unknown, oid) {
			unknown = append(unknown, oid)
		}
	}
	if len(unknown) == 0 {
		return
	}
	if s.clean {
		s.askTypes(ctx, unknown)
	}
	for i, oid := range s.oids {
		if s.result.Columns[i].Type == "" {
			s.result.Columns[i].Type = s.typeName(oid)
		}
		if s.result.Columns[i].Type == "" {
			s.result.Columns[i].Type = fmt.Sprintf("oid:%d", oid)
		}
	}
}

// typeName is "" for a type that is not known yet.
func (s *statement) typeName(oid uint32) string {
	if known, ok := s.backend.pgx.TypeMap().TypeForOID(oid); ok {
		return known.Name
	}
	return s.backend.typeNames[oid]
}

// askTypes remembers the names for as long as the connection lives.
func (s *statement) askTypes(ctx context.Context, oids []uint32) {
	rows, err := s.backend.pgx.Query(ctx, `SELECT oid, typname FROM pg_catalog.pg_type WHERE oid = ANY($1)`, oids)
	if err != nil {
		return
	}
	if s.backend.typeNames == nil {
		s.backend.typeNames = make(map[uint32]string)
	}
	var oid uint32
	var name string
	_, _ = pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		s.backend.typeNames[oid] = name
		return nil
	})
}
