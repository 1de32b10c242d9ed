package door

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
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
	welcome := []parameter{{"server_version", c.version()}, {"client_encoding", "UTF8"}, {"server_encoding", "UTF8"},
		{"DateStyle", "ISO"}, {"TimeZone", "GMT"}, {"standard_conforming_strings", "on"}, {"is_superuser", "on"}, {"integer_datetimes", "on"}}
	for _, p := range welcome {
		backend.Send(&pgproto3.ParameterStatus{Name: p.name, Value: p.value})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: me.id, SecretKey: me.secret})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: statusIdle})
	answers := &consoleAnswers{console: c, role: in.grant.Console, backend: backend}
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
	console  *console
	role     ConsoleRole
	backend  *pgproto3.Backend
	text     string // of the last Parse
	skipping bool   // after an error, until Sync
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
		a.text = m.Query
		a.backend.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Bind:
		if len(m.Parameters) > 0 {
			a.refuse(refusal(pgerrcode.FeatureNotSupported, "the console takes no parameters", ""))
			return
		}
		a.backend.Send(&pgproto3.BindComplete{})
	case *pgproto3.Describe:
		if m.ObjectType == 'S' {
			a.backend.Send(&pgproto3.ParameterDescription{})
		}
		a.extended(false)
	case *pgproto3.Execute:
		a.extended(true)
	case *pgproto3.Close:
		a.backend.Send(&pgproto3.CloseComplete{})
	case *pgproto3.Flush:
	default:
		a.refuse(refusal(pgerrcode.FeatureNotSupported, "the console speaks the simple query protocol, and the extended one without parameters", ""))
	}
}

// extended carries out the text of the last Parse, when it is executed. To describe it, only
// a SHOW is carried out, which changes nothing.
func (a *consoleAnswers) extended(executed bool) {
	words, refused := commandOf(a.text)
	if refused == nil && !executed && !words[0].is("SHOW") {
		a.backend.Send(&pgproto3.NoData{})
		return
	}
	var got table
	if refused == nil {
		got, refused = a.console.run(a.text, a.role)
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
		for _, value := range row {
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

// steerAtMost bounds a command that waits for leases to come home.
const steerAtMost = 5 * time.Minute

// commands are those that change something.
var commands map[string]func(*console, []word) error

func init() {
	commands = map[string]func(*console, []word) error{
		"PAUSE":       (*console).pause,
		"RESUME":      (*console).resume,
		"RECONNECT":   (*console).reconnect,
		"KILL":        (*console).kill,
		"KILL_CLIENT": (*console).killClient,
		"WAIT_CLOSE":  (*console).waitClose,
		"RELOAD":      (*console).reload,
		"SHUTDOWN":    (*console).shutdown,
		"SET":         refused("the door's settings are read at its start; the budget is changed in the dashboard, or by POST /api/admin.setLimits"),
		"DISABLE":     refused("a workspace is paused (PAUSE) or dropped, and not disabled"),
		"ENABLE":      refused("a workspace is resumed (RESUME), and not enabled"),
		"SUSPEND":     refused("the door hands over by a rolling restart: start the new process on the same port, and end the old one"),
	}
}

func refused(instead string) func(*console, []word) error {
	return func(*console, []word) error {
		return refusedError{refusal(pgerrcode.FeatureNotSupported, "this command of PgBouncer's has no meaning here: "+instead, "")}
	}
}

// each runs something for the workspace that a command names, or for all that have clients.
func (c *console) each(args []word, do func(context.Context, model.WorkspaceID) error) error {
	ctx, stop := context.WithTimeout(context.Background(), steerAtMost)
	defer stop()
	if len(args) > 1 {
		return refusedError{refusal(pgerrcode.SyntaxError, "the command takes one database, or none", "")}
	}
	if len(args) == 1 {
		id, err := model.ParseWorkspaceID(args[0].text)
		if err != nil {
			return refusedError{refusal(pgerrcode.InvalidCatalogName, err.Error(), "")}
		}
		return do(ctx, id)
	}
	var wrong []error
	for _, w := range c.door.desk.stats().Workspaces {
		wrong = append(wrong, do(ctx, w.ID))
	}
	return errors.Join(wrong...)
}

func (c *console) pause(args []word) error {
	return c.each(args, func(ctx context.Context, id model.WorkspaceID) error {
		_, err := c.door.manager.Pause(ctx, id)
		return err
	})
}

// resume without a name is for all that are paused, whether they have clients or not.
func (c *console) resume(args []word) error {
	if len(args) > 0 {
		return c.each(args, c.door.manager.Resume)
	}
	ctx, stop := context.WithTimeout(context.Background(), steerAtMost)
	defer stop()
	st, err := c.door.manager.Stats(ctx)
	if err != nil {
		return err
	}
	var wrong []error
	for _, w := range st.Workspaces.Active {
		if w.Paused {
			wrong = append(wrong, c.door.manager.Resume(ctx, w.ID))
		}
	}
	return errors.Join(wrong...)
}

func (c *console) reconnect(args []word) error {
	if len(args) == 0 {
		return c.waitClose(nil)
	}
	return c.each(args, func(ctx context.Context, id model.WorkspaceID) error {
		_, err := c.door.manager.Renew(ctx, id)
		return err
	})
}

// waitClose is RECONNECT of all, which waits for those that are idle.
func (c *console) waitClose([]word) error {
	ctx, stop := context.WithTimeout(context.Background(), steerAtMost)
	defer stop()
	_, err := c.door.manager.RenewAll(ctx)
	return err
}

// kill ends a workspace's clients at once, and pauses it.
func (c *console) kill(args []word) error {
	if len(args) != 1 {
		return refusedError{refusal(pgerrcode.SyntaxError, "KILL takes a database", "")}
	}
	return c.each(args, func(ctx context.Context, id model.WorkspaceID) error {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for _, client := range c.door.desk.list() {
				if client.workspace == id && !client.console {
					client.kill()
				}
			}
		}()
		_, err := c.door.manager.Pause(ctx, id)
		<-ended
		return err
	})
}

func (c *console) killClient(args []word) error {
	number := -1
	if len(args) == 1 {
		if n, err := strconv.Atoi(args[0].text); err == nil {
			number = n
		}
	}
	all := c.door.desk.list()
	i := slices.IndexFunc(all, func(client *client) bool { return int(client.id) == number })
	if i < 0 {
		return refusedError{refusal(pgerrcode.UndefinedObject, "there is no such client: SHOW CLIENTS has their ids", "")}
	}
	all[i].kill()
	return nil
}

func (c *console) reload([]word) error {
	if c.door.options.Reload == nil {
		return refused("this program does not reload")(c, nil)
	}
	if err := c.door.options.Reload(); err != nil {
		return refusedError{refusal(pgerrcode.ConfigFileError, err.Error(), "")}
	}
	return nil
}

func (c *console) shutdown(args []word) error {
	if c.door.options.Shutdown == nil {
		return refused("end the program instead")(c, nil)
	}
	wait := len(args) == 1 && (args[0].is("WAIT_FOR_CLIENTS") || args[0].is("WAIT_FOR_SERVERS"))
	if len(args) > 0 && !wait {
		return refusedError{refusal(pgerrcode.SyntaxError, "SHUTDOWN takes WAIT_FOR_CLIENTS, WAIT_FOR_SERVERS, or nothing", "")}
	}
	c.door.options.Shutdown(wait)
	return nil
}
