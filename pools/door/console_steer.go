package door

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgerrcode"

	"github.com/tenantpool/tenantpool/model"
)

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
