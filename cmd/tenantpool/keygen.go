package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/web"
)

// The variables that hold the two halves of a key pair.
const (
	privateKeyVariable = "PASETO_PRIVATE_KEY"
	publicKeyVariable  = "PASETO_PUBLIC_KEY"
)

func newKeygen() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen",
		Short: "Make a key pair for tokens and print it as two lines of an environment file",
		Long: `Prints a new key pair as two lines for an environment file.

` + publicKeyVariable + ` is for the server (tenantpool serve), which checks tokens with it. ` + privateKeyVariable + `
is for whoever issues tokens (tenantpool token). Whoever has it may do everything:
keep it off the server.

To rotate keys, give the server the new public key and the old one, separated by
a comma, until the last token of the old one has expired.`,
		Example: "  (umask 077 && tenantpool keygen > keys.env)",
		Args:    flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pair := web.NewPrivateKey()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s=%s\n%s=%s\n",
				privateKeyVariable, pair.Hex(), publicKeyVariable, pair.Public())
			return err
		},
	}
}
