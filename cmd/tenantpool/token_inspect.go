package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/web"
)

func newTokenInspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect",
		Short: "Print what a token says, and the line that revokes it",
		Long: `Reads a token from standard input, and prints its id, whose it is and how long it
is good. The signature is not checked: no key is needed.

The first line of the output revokes the token, once it stands in the file that
the server's ` + revocationsVariable + ` names.`,
		Example: `  tenantpool token inspect < stolen.token
  tenantpool token inspect < stolen.token | head -1 >> revoked`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := readToken(cmd.InOrStdin())
			if err != nil {
				return fmt.Errorf("token inspect: %w", err)
			}
			said, err := web.InspectToken(token)
			if err != nil {
				return fmt.Errorf("token inspect: %w", err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintln(out, said.Revocation())
			fmt.Fprintf(out, "# subject %s, role %s\n", said.Subject, said.Role)
			for _, id := range said.Workspaces {
				fmt.Fprintf(out, "# workspace %s\n", id)
			}
			_, err = fmt.Fprintf(out, "# issued %s, expires %s\n", said.Issued.Format(time.RFC3339), said.Expires.Format(time.RFC3339))
			return err
		},
	}
}

// readToken reads one line. An argument would show the token to everybody who lists
// processes.
func readToken(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 1<<20)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return "", errors.New("standard input holds no token: call tenantpool token inspect < file")
	}
	return line, nil
}
