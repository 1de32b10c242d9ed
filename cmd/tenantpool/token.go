package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/secret"
	"github.com/tenantpool/tenantpool/web"
)

func newToken() *cobra.Command {
	c := web.Claims{TTL: time.Hour}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Issue a token for the admin server",
		Long: `Prints a token that is signed with the private key in the environment variable
` + privateKeyVariable + ` (make one with tenantpool keygen), or in the file that
` + privateKeyVariable + secret.FileSuffix + ` names.

  viewer    sees everything and changes nothing
  operator  sees everything, and steers the pool
  service   runs statements in the workspaces that --workspace names, and does
            nothing else`,
		Example: `  tenantpool token --role operator --ttl 8h --subject anna
  tenantpool token --role service --workspace shop --workspace blog --subject reports`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "role", "subject"); err != nil {
				return err
			}
			key, err := privateKeyFromEnv()
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			token, err := web.Issue(key, c)
			if err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			if c.TTL > web.DefaultMaxTokenTTL {
				fmt.Fprintf(cmd.ErrOrStderr(), "A server accepts it only if its %s is %v or more.\n", maxTokenTTLVariable, c.TTL)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	flags := cmd.Flags()
	flags.Var(choice((*string)(&c.Role), string(web.Viewer), string(web.Operator), string(web.Service)), "role", "what the token may do")
	flags.Var(duration(&c.TTL, web.MinTTL, web.MaxTTL, fmt.Sprintf("a duration from %v to %v, such as 15m or 8h", web.MinTTL, web.MaxTTL)), "ttl", "how long the token is valid")
	flags.Func("workspace", "the `ID` of a workspace in which a service token may run statements; repeat it for more", func(s string) error {
		id, err := model.ParseWorkspaceID(s)
		c.Workspaces = append(c.Workspaces, id)
		return err
	})
	flags.StringVar(&c.Subject, "subject", "", "who gets the token; the audit log names them")
	flags.SortFlags = false
	cmd.AddCommand(newTokenInspect())
	return cmd
}

// required refuses a command line that lacks one of the flags.
func required(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if !cmd.Flags().Changed(name) {
			return &usageError{cmd.CommandPath(), fmt.Errorf("--%s is required", name)}
		}
	}
	return nil
}

// privateKeyFromEnv: a flag would show the key to everybody who lists processes.
func privateKeyFromEnv() (web.PrivateKey, error) {
	value, err := secret.FromEnv(privateKeyVariable)
	if err != nil {
		return web.PrivateKey{}, err
	}
	if value == "" {
		return web.PrivateKey{}, errors.New(privateKeyVariable + " is not set: make a key pair with tenantpool keygen")
	}
	key, err := web.ParsePrivateKey(value)
	if err != nil {
		return web.PrivateKey{}, fmt.Errorf("%s: %w", privateKeyVariable, err)
	}
	return key, nil
}
