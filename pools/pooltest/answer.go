package pooltest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

// portal is a statement with its arguments, and its result once that is known.
type portal struct {
	query   Query
	formats []int16
	ran     bool
	result  *Result // nil of an empty statement
	sent    int     // rows
	fields  []pgproto3.FieldDescription
}

// answer takes a message of an admitted client. Its error ends the session.
func (s *session) answer(message pgproto3.FrontendMessage) error {
	switch m := message.(type) {
	case *pgproto3.Query:
		return s.simple(m.String)
	case *pgproto3.Sync:
		return s.ready()
	case *pgproto3.Flush:
		return s.client.Flush()
	case *pgproto3.Terminate:
		return errDone
	}
	err := s.extended(message)
	if err == nil || isFinal(err) {
		return err
	}
	// What follows is skipped, up to the next Sync.
	if err := s.refuse(asPgError(err)); err != nil {
		return err
	}
	for {
		message, err := s.client.Receive()
		if err != nil {
			return err
		}
		switch message.(type) {
		case *pgproto3.Sync:
			return s.ready()
		case *pgproto3.Terminate:
			return errDone
		}
	}
}

// simple runs the statements of a simple query, up to the first that fails.
func (s *session) simple(sql string) error {
	all := split(sql)
	if len(all) == 0 {
		s.client.Send(&pgproto3.EmptyQueryResponse{})
	}
	for _, statement := range all {
		p := &portal{query: s.query(statement, nil)}
		err := s.run(p)
		if err == nil {
			if len(p.fields) > 0 {
				s.client.Send(&pgproto3.RowDescription{Fields: p.fields})
			}
			err = s.send(p, 0)
		}
		if isFinal(err) {
			return err
		}
		if err != nil {
			if err := s.refuse(asPgError(err)); err != nil {
				return err
			}
			break
		}
	}
	return s.ready()
}

// extended takes a message of the extended protocol.
//
// What a statement returns is known when its handler has answered, which needs the
// arguments. So a prepared statement is described as one without a result: pgx then asks
// again when it has bound them.
func (s *session) extended(message pgproto3.FrontendMessage) error {
	switch m := message.(type) {
	case *pgproto3.Parse:
		all := split(m.Query)
		if len(all) > 1 {
			return refusal(pgerrcode.SyntaxError, "cannot insert multiple commands into a prepared statement")
		}
		s.statements[m.Name] = strings.Join(all, "")
		s.client.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Bind:
		sql, known := s.statements[m.PreparedStatement]
		if !known {
			return refusal(pgerrcode.InvalidSQLStatementName, fmt.Sprintf("prepared statement %q does not exist", m.PreparedStatement))
		}
		if wants := parameters(sql); len(wants) != len(m.Parameters) {
			return refusal(pgerrcode.ProtocolViolation, fmt.Sprintf("bind message supplies %d parameters, but the statement requires %d", len(m.Parameters), len(wants)))
		}
		args, err := asText(m.Parameters, m.ParameterFormatCodes)
		if err != nil {
			return err
		}
		s.portals[m.DestinationPortal] = &portal{query: s.query(sql, args), formats: slices.Clone(m.ResultFormatCodes)}
		s.client.Send(&pgproto3.BindComplete{})
	case *pgproto3.Describe:
		return s.describe(m)
	case *pgproto3.Execute:
		p, err := s.portal(m.Portal)
		if err != nil {
			return err
		}
		if err := s.run(p); err != nil {
			return err
		}
		return s.send(p, int(m.MaxRows))
	case *pgproto3.Close:
		if m.ObjectType == 'S' {
			delete(s.statements, m.Name)
		} else {
			delete(s.portals, m.Name)
		}
		s.client.Send(&pgproto3.CloseComplete{})
	default:
		return refusal(pgerrcode.FeatureNotSupported, fmt.Sprintf("pooltest: the fake does not know the message %T", message))
	}
	return nil
}

func (s *session) describe(m *pgproto3.Describe) error {
	if m.ObjectType == 'S' {
		sql, known := s.statements[m.Name]
		if !known {
			return refusal(pgerrcode.InvalidSQLStatementName, fmt.Sprintf("prepared statement %q does not exist", m.Name))
		}
		s.client.Send(&pgproto3.ParameterDescription{ParameterOIDs: parameters(sql)})
		s.client.Send(&pgproto3.NoData{})
		return nil
	}
	p, err := s.portal(m.Name)
	if err != nil {
		return err
	}
	if err := s.run(p); err != nil {
		return err
	}
	if len(p.fields) == 0 {
		s.client.Send(&pgproto3.NoData{})
		return nil
	}
	s.client.Send(&pgproto3.RowDescription{Fields: p.fields})
	return nil
}

func (s *session) portal(name string) (*portal, error) {
	if p := s.portals[name]; p != nil {
		return p, nil
	}
	return nil, refusal(pgerrcode.InvalidCursorName, fmt.Sprintf("portal %q does not exist", name))
}

func (s *session) query(sql string, args []any) Query {
	return Query{Workspace: s.workspace, Database: s.database, SQL: sql, Args: args}
}

// run runs the portal's statement, once.
func (s *session) run(p *portal) (err error) {
	if p.ran {
		return nil
	}
	p.ran = true
	if p.query.SQL == "" {
		return nil
	}
	if p.result, err = s.outcome(p.query); err == nil {
		p.fields, err = p.result.describe(p.formats)
	}
	if err != nil && s.tx == 'T' {
		s.tx = 'E'
	}
	return err
}

// outcome is what becomes of a statement.
func (s *session) outcome(q Query) (*Result, error) {
	command := commandOf(q.SQL)
	if s.tx == 'E' && !command.ends() {
		return nil, refusal(pgerrcode.InFailedSQLTransaction, "current transaction is aborted, commands ignored until end of transaction block")
	}
	select {
	case <-s.cancels: // it came too late for an earlier statement
	default:
	}
	ctx, stop := context.WithCancel(s.terminated)
	defer stop()
	cancelled := make(chan struct{})
	go func() {
		select {
		case <-s.cancels:
			close(cancelled)
			stop()
		case <-ctx.Done():
		}
	}()
	err := s.delay(ctx)
	var result *Result
	if err == nil {
		if result, err = s.fake.asked(s, q); result == nil && err == nil {
			result, err = s.fake.handle(ctx, q)
		}
	}
	switch {
	case s.terminated.Err() != nil:
		return nil, fatal(pgerrcode.AdminShutdown, ending)
	case err != nil && isClosed(cancelled):
		return nil, refusal(pgerrcode.QueryCanceled, "canceling statement due to user request")
	case err != nil:
		return nil, err
	}
	if result == nil {
		result = &Result{}
	}
	tag := command.tag(len(result.rows), s.tx)
	s.tx = command.after(s.tx)
	if result.tag == "" {
		result = &Result{columns: result.columns, rows: result.rows, tag: tag}
	}
	return result, nil
}

// delay waits for as long as the server's latency is.
func (s *session) delay(ctx context.Context) error {
	d := s.fake.latency()
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends the portal's next rows, atMost of them unless that is 0, and the tag.
func (s *session) send(p *portal, atMost int) error {
	if p.query.SQL == "" {
		s.client.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	rows := p.result.rows[p.sent:]
	if atMost > 0 && atMost < len(rows) {
		rows = rows[:atMost]
	}
	for _, row := range rows {
		values, err := encode(row, p.fields)
		if err != nil {
			return err
		}
		s.client.Send(&pgproto3.DataRow{Values: values})
		p.sent++
	}
	if p.sent < len(p.result.rows) {
		s.client.Send(&pgproto3.PortalSuspended{})
	} else {
		s.client.Send(&pgproto3.CommandComplete{CommandTag: []byte(p.result.tag)})
	}
	return nil
}
