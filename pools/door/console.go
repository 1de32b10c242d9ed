package door

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

// console is what clients see that connect to the console's database: tables about the
// door, and commands for operators, by PgBouncer's names (its manual, "Admin console"). It
// knows no SQL: a text is one of its commands, or an error.
type console struct{ door *Door }

func newConsole(d *Door) *console { return &console{d} }

// table is what a command answers.
type table struct {
	columns []column
	rows    [][]string
	tag     string
}

type column struct {
	name   string
	number bool
}

// serve answers one client until it ends.
func (c *console) serve(in *login, me *client) error {
	backend := pgproto3.NewBackend(in, in)
	backend.SetMaxBodyLen(consoleTextAtMost)
	welcome := []parameter{{"server_version", c.version()}, {"client_encoding", "UTF8"}, {"server_encoding", "UTF8"},
		{"DateStyle", "ISO"}, {"TimeZone", "GMT"}, {"standard_conforming_strings", "on"}, {"is_superuser", "on"}, {"integer_datetimes", "on"}}
	for _, p := range welcome {
		backend.Send(&pgproto3.ParameterStatus{Name: p.name, Value: p.value})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: me.id, SecretKey: me.secret})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: statusIdle})
	answers := &consoleAnswers{console: c, role: in.grant.Console, backend: backend, statements: map[string]string{}, portals: map[string]string{}}
	for {
		if err := backend.Flush(); err != nil {
			return err
		}
		message, err := backend.Receive()
		if why := me.ending.Load(); why != nil {
			backend.Send(why)
			return backend.Flush()
		}
		if err != nil {
			return err
		}
		if _, over := message.(*pgproto3.Terminate); over {
			return nil
		}
		answers.answer(message)
	}
}

// version is for clients that read a server's version. The console's names are those of
// PgBouncer 1.24.
func (c *console) version() string { return "1.24.0/tenantpool" }

// consoleAnswers are those to one client. Of the extended protocol there is as much as
// drivers need for a text without parameters.
type consoleAnswers struct {
	console *console
	role    ConsoleRole
	backend *pgproto3.Backend
	// statements are the texts of Parse, and portals those of Bind, by name.
	statements, portals map[string]string
	skipping            bool // after an error, until Sync
}

func (a *consoleAnswers) answer(message pgproto3.FrontendMessage) {
	if _, sync := message.(*pgproto3.Sync); sync {
		a.skipping = false
		a.backend.Send(&pgproto3.ReadyForQuery{TxStatus: statusIdle})
		return
	}
	if a.skipping {
		return
	}
	switch m := message.(type) {
	case *pgproto3.Query:
		if strings.Trim(m.String, "; \t\r\n") == "" {
			a.backend.Send(&pgproto3.EmptyQueryResponse{})
		} else if got, refused := a.console.run(m.String, a.role); refused != nil {
			a.backend.Send(refused)
		} else {
			a.describe(got)
			a.rows(got)
		}
		a.backend.Send(&pgproto3.ReadyForQuery{TxStatus: statusIdle})
	case *pgproto3.Parse:
		if len(a.statements) >= consoleNamesAtMost {
			clear(a.statements)
		}
		a.statements[m.Name] = m.Query
		a.backend.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Bind:
		if len(m.Parameters) > 0 {
			a.refuse(refusal(pgerrcode.FeatureNotSupported, "the console takes no parameters", ""))
			return
		}
		text, known := a.statements[m.PreparedStatement]
		if !known {
			a.refuse(unknownStatement([]byte(m.PreparedStatement)))
			return
		}
		if len(a.portals) >= consoleNamesAtMost {
			clear(a.portals)
		}
		a.portals[m.DestinationPortal] = text
		a.backend.Send(&pgproto3.BindComplete{})
	case *pgproto3.Describe:
		text, known := a.portals[m.Name]
		if m.ObjectType == 'S' {
			text, known = a.statements[m.Name]
		}
		if !known {
			a.refuse(unknownStatement([]byte(m.Name)))
			return
		}
		if m.ObjectType == 'S' {
			a.backend.Send(&pgproto3.ParameterDescription{})
		}
		a.extended(text, false)
	case *pgproto3.Execute:
		text, known := a.portals[m.Portal]
		if !known {
			a.refuse(refusal(pgerrcode.InvalidCursorName, fmt.Sprintf("portal %q does not exist", m.Portal), ""))
			return
		}
		a.extended(text, true)
	case *pgproto3.Close:
		a.backend.Send(&pgproto3.CloseComplete{})
	case *pgproto3.Flush:
	default:
		a.refuse(refusal(pgerrcode.FeatureNotSupported, "the console speaks the simple query protocol, and the extended one without parameters", ""))
	}
}

const (
	consoleTextAtMost  = 64 << 10
	consoleNamesAtMost = 1000
)

// extended carries out a text, when it is executed. To describe it, only
// a SHOW is carried out, which changes nothing.
func (a *consoleAnswers) extended(text string, executed bool) {
	words, refused := commandOf(text)
	if refused == nil && !executed && !words[0].is("SHOW") {
		a.backend.Send(&pgproto3.NoData{})
		return
	}
	var got table
	if refused == nil {
		got, refused = a.console.run(text, a.role)
	}
	for i := range got.columns {
		got.columns[i].number = false // a client may ask for numbers in binary; a text is the same in both
	}
	switch {
	case refused != nil:
		a.refuse(refused)
	case executed:
		a.rows(got)
	default:
		a.describe(got)
	}
}

func (a *consoleAnswers) refuse(why *pgproto3.ErrorResponse) {
	a.backend.Send(why)
	a.skipping = true
}

const (
	oidText = 25
	oidInt8 = 20
)

func (a *consoleAnswers) describe(got table) {
	if len(got.columns) == 0 {
		return
	}
	description := &pgproto3.RowDescription{}
	for _, c := range got.columns {
		field := pgproto3.FieldDescription{Name: []byte(c.name), DataTypeOID: oidText, DataTypeSize: -1, TypeModifier: -1}
		if c.number {
			field.DataTypeOID, field.DataTypeSize = oidInt8, 8
		}
		description.Fields = append(description.Fields, field)
	}
	a.backend.Send(description)
}

func (a *consoleAnswers) rows(got table) {
	for _, row := range got.rows {
		data := &pgproto3.DataRow{}
		for i, value := range row {
			if value == "" && got.columns[i].number {
				data.Values = append(data.Values, nil)
				continue
			}
			data.Values = append(data.Values, []byte(value))
		}
		a.backend.Send(data)
	}
	a.backend.Send(&pgproto3.CommandComplete{CommandTag: []byte(got.tag)})
}

// word is one of a command.
type word struct {
	text   string
	quoted bool
}

func (w word) is(keyword string) bool { return !w.quoted && strings.EqualFold(w.text, keyword) }

// commandOf splits a text into the words of one command.
func commandOf(text string) (words []word, refused *pgproto3.ErrorResponse) {
	text = strings.TrimRight(strings.TrimSpace(text), "; \t\r\n")
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t', '\n', '\r':
			i++
		case '"', '\'':
			end := strings.IndexByte(text[i+1:], c)
			if end < 0 {
				return nil, refusal(pgerrcode.SyntaxError, "a quote is not closed", "")
			}
			words = append(words, word{text[i+1 : i+1+end], true})
			i += end + 2
		case ';':
			return nil, refusal(pgerrcode.SyntaxError, "the console takes one command at a time", "")
		case '=':
			words = append(words, word{"=", false})
			i++
		default:
			end := i
			for end < len(text) && !strings.ContainsRune(" \t\r\n;='\"", rune(text[end])) {
				end++
			}
			words = append(words, word{text[i:end], false})
			i = end
		}
	}
	if len(words) == 0 {
		return nil, refusal(pgerrcode.SyntaxError, "there is no command", helpHint)
	}
	return words, nil
}

const helpHint = "SHOW HELP lists the commands"

// run carries out one command. A viewer may look, and nothing else.
func (c *console) run(text string, role ConsoleRole) (table, *pgproto3.ErrorResponse) {
	words, refused := commandOf(text)
	if refused != nil {
		return table{}, refused
	}
	if words[0].is("SHOW") {
		return c.show(words[1:])
	}
	name := strings.ToUpper(words[0].text)
	steer := commands[name]
	switch {
	case steer == nil || words[0].quoted:
		return table{}, refusal(pgerrcode.SyntaxError, fmt.Sprintf("%q is no command of the console", words[0].text), helpHint)
	case role < Admin:
		return table{}, refusal(pgerrcode.InsufficientPrivilege, name+" is for users with console=admin", "")
	}
	if err := steer(c, words[1:]); err != nil {
		var refused refusedError
		if errors.As(err, &refused) {
			return table{}, refused.ErrorResponse
		}
		return table{}, acquireRefusal(err)
	}
	c.door.log.Info("An operator has steered the door", "command", name)
	return table{tag: name}, nil
}
