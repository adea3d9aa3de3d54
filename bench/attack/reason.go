package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// Reasons for which a request failed without an answer, or with part of one.
// They are the same whatever transport carried it.
const (
	reasonTimeout   = "timeout"
	reasonRefused   = "connection refused"
	reasonLost      = "connection lost before the answer was whole"
	reasonMalformed = "malformed answer"
	reasonStopped   = "given up: the attack was stopped"
	reasonAddress   = "no free source address or port"
	reasonFiles     = "too many open files"
	reasonName      = "host name not found"
	reasonRoute     = "no route to host"
	reasonTLS       = "TLS handshake failed"
)

var (
	errMalformed = errors.New(reasonMalformed)
	errStopped   = errors.New(reasonStopped)
)

// addresses in messages differ from request to request.
var addresses = regexp.MustCompile(`(\[[0-9a-fA-F:.%\w]+\]|\d+\.\d+\.\d+\.\d+)(:\d+)?(->(\[[0-9a-fA-F:.%\w]+\]|\d+\.\d+\.\d+\.\d+)(:\d+)?)?`)

// reason says why a request failed, without anything that differs between
// requests that failed alike: a set of reasons stays small.
func reason(err error) string {
	var (
		timeout interface{ Timeout() bool }
		name    *net.DNSError
		garbage textproto.ProtocolError
		cert    *tls.CertificateVerificationError
		alert   tls.AlertError
		record  tls.RecordHeaderError
		host    x509.HostnameError
	)
	switch {
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled):
		return reasonStopped
	case errors.Is(err, ErrRemote):
		return ErrRemote.Error()
	case errors.As(err, &name):
		return reasonName
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return reasonTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return reasonRefused
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return reasonAddress
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return reasonFiles
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return reasonRoute
	case errors.As(err, &cert), errors.As(err, &alert), errors.As(err, &record), errors.As(err, &host):
		return reasonTLS
	case errors.Is(err, errMalformed), errors.As(err, &garbage), strings.Contains(err.Error(), "malformed"),
		strings.Contains(err.Error(), "invalid byte in chunk length"), strings.Contains(err.Error(), "headers exceeded"):
		return reasonMalformed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "server closed idle connection"):
		return reasonLost
	}
	return strings.TrimSpace(addresses.ReplaceAllString(err.Error(), "ADDRESS"))
}
