package door

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/tenantpool/tenantpool/pools"
)

// Users are who may come in with a password or a certificate, from a file or a query. It is
// safe for use by several goroutines.
type Users struct {
	path  string
	known atomic.Pointer[map[string]*credential]

	manager *pools.Manager
	sql     string
	answers atomic.Pointer[map[string]answeredUser]
	// asking has room for a few: who is not logged in must not have all of the system
	// database's connections.
	asking chan struct{}
}

// credential is one user.
type credential struct {
	grant Grant
	// certificate: only a client's certificate lets this user in.
	certificate bool
	scram       scram.StoredCredentials
}

type answeredUser struct {
	credential *credential // nil: there is no such user
	until      time.Time
}

const (
	scramIterations = 4096 // scram_iterations of PostgreSQL
	// A user that a query knows is asked for again after a while, one that it does not
	// know sooner.
	knownFor, unknownFor = 5 * time.Second, time.Second
	answersAtMost        = 4096
	askUserAtMost        = 5 * time.Second
	askingAtMost         = 2
)

// ReadUsers reads a file of users. A line has a name and a secret, in double quotes as in
// PgBouncer's auth_file, and then what the user may do:
//
//	"alice" "SCRAM-SHA-256$4096:..." workspaces=acme,globex-*
//	"batch" "a password in the clear" workspaces=* pooling=session
//	"ops"   cert console=admin
//
// The secret is as in pg_authid, or the password itself, or the word cert without quotes: then a
// verified certificate whose common name is the user's lets it in. workspaces are ids, in
// which * stands for any characters; console is viewer or admin; pooling is transaction or
// session. A line that begins with ; or # is a comment. The error names every bad line, and
// no secret.
func ReadUsers(path string) (*Users, error) {
	u := &Users{path: path}
	if err := u.Reload(); err != nil {
		return nil, err
	}
	return u, nil
}

// QueryUsers asks the system database for a user that is not known, or not of late. The
// parameter $1 is the name. The first two columns are the secret and the workspaces, both
// text as in a file; a third and a fourth may be console and pooling. No row: there is no
// such user. Its search_path is pg_catalog: the query names the schema of its table.
func QueryUsers(m *pools.Manager, sql string) *Users {
	return &Users{manager: m, sql: sql, asking: make(chan struct{}, askingAtMost)}
}

// Reload reads the file again. If it is no good nothing changes. A query needs none.
func (u *Users) Reload() error {
	if u.path == "" {
		return nil
	}
	file, err := os.Open(u.path)
	if err != nil {
		return fmt.Errorf("door: the users: %w", err)
	}
	defer func() { _ = file.Close() }()
	known, wrong := make(map[string]*credential), []error(nil)
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		name, c, err := userOf(line)
		if err == nil && known[name] != nil {
			err = fmt.Errorf("user %q stands in the file twice", name)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("door: the users: %s, line %d: %w", u.path, number, err))
			continue
		}
		known[name] = c
	}
	if err := lines.Err(); err != nil {
		wrong = append(wrong, fmt.Errorf("door: the users: %s: %w", u.path, err))
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	u.known.Store(&known)
	return nil
}

// userOf reads a line.
func userOf(line string) (name string, c *credential, err error) {
	name, rest, ok := quoted(line)
	if !ok || name == "" {
		return "", nil, errors.New(`it must begin with a name in double quotes`)
	}
	if name == tokenUser {
		return "", nil, fmt.Errorf("%q is the name of those who come with a token", tokenUser)
	}
	secret, rest, ok := quoted(rest)
	isCert := false
	if !ok {
		word := ""
		if words := strings.Fields(rest); len(words) > 0 {
			word = words[0]
		}
		_, after, _ := strings.Cut(rest, word)
		if word != "cert" {
			return "", nil, fmt.Errorf("user %q: after the name comes a secret in double quotes, or cert", name)
		}
		isCert, rest = true, after
	}
	options := map[string]string{}
	for _, option := range strings.Fields(rest) {
		key, value, found := strings.Cut(option, "=")
		if !found || options[key] != "" || rest[0] != ' ' && rest[0] != '\t' {
			return "", nil, fmt.Errorf("user %q: what follows the secret are options, each once: workspaces, console, pooling, each with its =", name)
		}
		options[key] = value
	}
	c, err = newCredential(name, secret, options)
	if err == nil {
		c.certificate = isCert
	}
	return name, c, err
}

// quoted takes a string in double quotes, in which two stand for one.
func quoted(s string) (value, rest string, ok bool) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '"':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			return b.String(), s[i+1:], true
		}
	}
	return "", s, false
}

func newCredential(name, secret string, options map[string]string) (*credential, error) {
	c := &credential{grant: Grant{User: name}}
	for key, value := range options {
		switch {
		case key == "workspaces":
			for pattern := range strings.SplitSeq(value, ",") {
				if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.ContainsAny(pattern, `?[]\`) {
					return nil, fmt.Errorf("user %q: workspaces has %q: it takes ids, in which a * stands for any characters", name, pattern)
				}
				c.grant.Workspaces = append(c.grant.Workspaces, pattern)
			}
		case key == "console" && (value == "viewer" || value == "admin"):
			c.grant.Console = map[string]ConsoleRole{"viewer": Viewer, "admin": Admin}[value]
		case key == "pooling" && (value == "transaction" || value == "session"):
			c.grant.Pooling = map[string]Pooling{"transaction": TransactionPooling, "session": SessionPooling}[value]
		default:
			// Neither is named: by a slip in its quotes the end of a secret may be here.
			return nil, fmt.Errorf("user %q: the options are workspaces=..., console=viewer or admin, pooling=transaction or session, and one here is none of them", name)
		}
	}
	if len(c.grant.Workspaces) == 0 && c.grant.Console == NoConsole {
		return nil, fmt.Errorf("user %q may do nothing: give it workspaces or console", name)
	}
	var err error
	c.scram, err = storedOf(name, secret)
	return c, err
}

// storedOf reads a secret as pg_authid has it (RFC 5803), or derives one from a password.
func storedOf(name, secret string) (stored scram.StoredCredentials, err error) {
	switch {
	case strings.HasPrefix(secret, "md5") && len(secret) == 35:
		return stored, fmt.Errorf("user %q: an MD5 secret cannot be used: set the password again with password_encryption=scram-sha-256", name)
	case !strings.HasPrefix(secret, "SCRAM-SHA-256$"):
		return derive(secret, saltOf(name))
	}
	bad := fmt.Errorf("user %q: its secret is no SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>", name)
	parts := strings.FieldsFunc(strings.TrimPrefix(secret, "SCRAM-SHA-256$"), func(r rune) bool { return r == ':' || r == '$' })
	if len(parts) != 4 {
		return stored, bad
	}
	iterations, err := strconv.Atoi(parts[0])
	if err != nil || iterations < 1 {
		return stored, bad
	}
	var keys [3][]byte
	for i, part := range parts[1:] {
		if keys[i], err = base64.StdEncoding.DecodeString(part); err != nil || i > 0 && len(keys[i]) != sha256.Size {
			return stored, bad
		}
	}
	return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(keys[0]), Iters: iterations}, StoredKey: keys[1], ServerKey: keys[2]}, nil
}

// saltKey is this process's.
var saltKey = rand.Text()

// saltOf is the salt of a user whose verifier has none, and of one that there is not: it is
// always the same, so that they look alike.
func saltOf(name string) []byte {
	h := hmac.New(sha256.New, []byte(saltKey))
	h.Write([]byte(name))
	return h.Sum(nil)[:16]
}

// derive is RFC 5802, section 3. A password that SASLprep does not take is used as it is, as
// PostgreSQL does.
func derive(password string, salt []byte) (stored scram.StoredCredentials, err error) {
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
		password = prepared
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return stored, err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	key := sha256.Sum256(mac("Client Key"))
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: scramIterations}, StoredKey: key[:], ServerKey: mac("Server Key"),
	}, nil
}

// find is the user of this name; nil: there is none. It may ask the server.
func (u *Users) find(name string) (*credential, error) {
	if u == nil {
		return nil, nil
	}
	if u.manager == nil {
		return (*u.known.Load())[name], nil
	}
	now := time.Now()
	answers := u.answers.Load()
	if answers != nil {
		if a, ok := (*answers)[name]; ok && now.Before(a.until) {
			return a.credential, nil
		}
	}
	found, err := u.ask(name)
	if err != nil {
		return nil, err
	}
	answer := answeredUser{found, now.Add(unknownFor)}
	if found != nil {
		answer.until = now.Add(knownFor)
	}
	more := map[string]answeredUser{name: answer}
	if answers != nil {
		for other, a := range *answers {
			if len(more) < answersAtMost && now.Before(a.until) && other != name {
				more[other] = a
			}
		}
	}
	u.answers.CompareAndSwap(answers, &more) // or somebody else has just asked
	return found, nil
}

// ask runs the query. Nothing that a client has said but its name reaches it.
func (u *Users) ask(name string) (*credential, error) {
	ctx, stop := context.WithTimeout(context.Background(), askUserAtMost)
	defer stop()
	select {
	case u.asking <- struct{}{}:
		defer func() { <-u.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("the query for users: too many ask at once: %w", ctx.Err())
	}
	tx, err := u.manager.System().Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("the query for users: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog"); err != nil {
		return nil, fmt.Errorf("the query for users: %w", err)
	}
	rows, err := tx.Query(ctx, u.sql, name)
	if err != nil {
		return nil, fmt.Errorf("the query for users: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	if err != nil {
		return nil, fmt.Errorf("the query for users: %w", err)
	}
	switch {
	case len(all) == 0:
		return nil, nil
	case len(all) > 1 || len(all[0]) < 2:
		return nil, fmt.Errorf("the query for users gave %d rows of %d columns for one name: it must give one row of secret and workspaces", len(all), len(all[0]))
	}
	options := map[string]string{}
	for i, key := range []string{"workspaces", "console", "pooling"} {
		if i+1 < len(all[0]) {
			if value := textOf(all[0][i+1]); value != "" {
				options[key] = value
			}
		}
	}
	secret := textOf(all[0][0])
	if secret == "" {
		return nil, nil // such a user has no password
	}
	c, err := newCredential(name, secret, options)
	if err != nil {
		return nil, fmt.Errorf("the query for users: %w", err)
	}
	return c, nil
}

// textOf is a column's text; a list's is joined by commas.
func textOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []any:
		words := make([]string, len(v))
		for i := range v {
			words[i] = textOf(v[i])
		}
		return strings.Join(words, ",")
	}
	return ""
}
