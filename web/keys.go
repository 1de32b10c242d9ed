package web

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"aidanwoods.dev/go-paseto"
	"golang.org/x/crypto/blake2b"
)

// PublicKey checks tokens. It may be shown to anybody.
type PublicKey struct {
	key paseto.V4AsymmetricPublicKey
	id  string
}

// PrivateKey signs tokens: who has it may do everything. It prints as
// "[hidden]"; Hex gives it away.
type PrivateKey struct {
	key paseto.V4AsymmetricSecretKey
}

// NewPrivateKey makes a key pair.
func NewPrivateKey() PrivateKey { return PrivateKey{paseto.NewV4AsymmetricSecretKey()} }

// ParsePrivateKey reads what Hex has written. Its errors do not repeat any of it.
func ParsePrivateKey(s string) (PrivateKey, error) {
	raw, err := keyBytes(s)
	switch {
	case err != nil:
		return PrivateKey{}, fmt.Errorf("private key: %w", err)
	case len(raw) == ed25519.PublicKeySize:
		return PrivateKey{}, errors.New("private key: it is as short as a public key; give the private one of the pair")
	case len(raw) != ed25519.PrivateKeySize:
		return PrivateKey{}, fmt.Errorf("private key: it has %d hexadecimal digits, not %d", 2*len(raw), 2*ed25519.PrivateKeySize)
	}
	key, err := paseto.NewV4AsymmetricSecretKeyFromBytes(raw)
	if err != nil {
		return PrivateKey{}, errors.New("private key: it is damaged: its two halves do not belong together")
	}
	return PrivateKey{key}, nil
}

// Public is the other half of the pair.
func (k PrivateKey) Public() PublicKey { return newPublicKey(k.key.Public()) }

// Hex is the key itself, a secret.
func (k PrivateKey) Hex() string { return k.key.ExportHex() }

// Format hides the key, with any verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "[hidden]") }

// ParsePublicKeys reads keys as String writes them, separated by commas. While
// keys are rotated there are two: the new one, and the old one until its last
// token has expired.
func ParsePublicKeys(s string) ([]PublicKey, error) {
	var keys []PublicKey
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		key, err := parsePublicKey(part)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("public key: there is none")
	}
	return keys, nil
}

func parsePublicKey(s string) (PublicKey, error) {
	raw, err := keyBytes(s)
	switch {
	case err != nil:
		return PublicKey{}, err
	case len(raw) == ed25519.PrivateKeySize:
		return PublicKey{}, errors.New("it is as long as a private key, which belongs nowhere near a server; give the public one of the pair")
	case len(raw) != ed25519.PublicKeySize:
		return PublicKey{}, fmt.Errorf("it has %d hexadecimal digits, not %d", 2*len(raw), 2*ed25519.PublicKeySize)
	}
	key, err := paseto.NewV4AsymmetricPublicKeyFromBytes(raw)
	if err != nil {
		return PublicKey{}, errors.New("it is not an Ed25519 public key")
	}
	return newPublicKey(key), nil
}

// keyBytes: hex's own error quotes a byte, and it may be one of a secret.
func keyBytes(s string) ([]byte, error) {
	raw, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return nil, errors.New("it is not hexadecimal, as tenantpool keygen prints it")
	}
	return raw, nil
}

func newPublicKey(key paseto.V4AsymmetricPublicKey) PublicKey {
	return PublicKey{key: key, id: keyID(key.ExportBytes())}
}

// keyID is the key's PASERK id (k4.pid), which other programs that issue tokens
// can compute as well.
func keyID(key []byte) string {
	const header = "k4.pid."
	hash, err := blake2b.New(33, nil)
	if err != nil {
		panic(err) // 33 bytes are within its range
	}
	_, _ = hash.Write([]byte(header + "k4.public." + base64.RawURLEncoding.EncodeToString(key)))
	return header + base64.RawURLEncoding.EncodeToString(hash.Sum(nil))
}

// ID is what the footer of a token names the key by.
func (k PublicKey) ID() string { return k.id }

// String is the key in hexadecimal.
func (k PublicKey) String() string { return k.key.ExportHex() }
