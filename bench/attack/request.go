package attack

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weir/bench/plan"
)

// Vegeta's own headers, a free join key to a server's log.
const (
	attackHeader = "X-Vegeta-Attack"
	seqHeader    = "X-Vegeta-Seq"
)

const userAgent = "weir"

// A request is a target made ready to be sent many times, each time with
// another key and number.
type request struct {
	target  plan.Target
	label   string // Record.Target
	url     *url.URL
	host    string      // the Host header
	header  http.Header // complete but for key and number; without Host
	network string      // "tcp" or "unix"
	address string      // to dial
	way     string      // how the key is sent
	keyName string      // the header's or the query field's name
	via     exchange

	// The parts of the HTTP/1.1 text before and behind a key in the query, and
	// before number and key in the header.
	line, rest []byte
}

// prepare makes the plan's targets ready.
func prepare(p *plan.Plan) ([]request, error) {
	way, name := p.Keys.Way()
	if p.Keys.Count == 0 {
		way = ""
	}
	requests := make([]request, len(p.Targets))
	for i, target := range p.Targets {
		u, err := url.Parse(target.URL)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", target.URL, err)
		}
		r := request{target: target, label: target.Method + " " + target.URL, url: u, way: way, keyName: name}
		if err := r.place(); err != nil {
			return nil, err
		}
		r.setHeader(p.Name)
		r.render()
		requests[i] = r
	}
	return requests, nil
}

// place finds where to dial.
func (r *request) place() error {
	r.network = "tcp"
	if r.url.Scheme == plan.SchemeUnix {
		socket, path, _ := strings.Cut(r.url.Path, ":")
		if socket == "" {
			return fmt.Errorf("target %q: no socket (want e.g. unix:///run/api.sock:/items)", r.target.URL)
		}
		r.network, r.address = "unix", socket
		r.url = &url.URL{Scheme: "http", Host: "localhost", Path: "/" + strings.TrimPrefix(path, "/"), RawQuery: r.url.RawQuery}
		r.host = r.url.Host
		return nil
	}
	port := r.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[r.url.Scheme]
	}
	r.host, r.address = r.url.Host, net.JoinHostPort(r.url.Hostname(), port)
	return nil
}

// setHeader gathers the header as every request carries it.
func (r *request) setHeader(attack string) {
	r.header = http.Header{"User-Agent": {userAgent}, attackHeader: {attack}}
	if user := r.url.User; user != nil {
		password, _ := user.Password()
		basic := http.Request{Header: r.header}
		basic.SetBasicAuth(user.Username(), password)
	}
	for name, values := range r.target.Header {
		r.header[http.CanonicalHeaderKey(name)] = values
	}
	if host := r.header.Get("Host"); host != "" {
		r.host = host
	}
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Connection"} {
		r.header.Del(name) // what the transports say themselves
	}
}

// hasLength reports whether the request says how long its body is: methods that
// usually have one say so even of an empty one, as net/http does.
func (r *request) hasLength() bool {
	switch r.target.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return true
	}
	return len(r.target.Body) > 0
}

// render writes the unchanging parts of the HTTP/1.1 text.
func (r *request) render() {
	path := *r.url
	if r.way == plan.ViaQuery {
		path.RawQuery, path.ForceQuery = "", false // appendText writes the query with the key
	}
	r.line = fmt.Append(nil, r.target.Method, " ", path.RequestURI())
	rest := fmt.Append(nil, " HTTP/1.1\r\nHost: ", r.host, "\r\n")
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		for _, value := range r.header[name] {
			rest = fmt.Append(rest, name, ": ", value, "\r\n")
		}
	}
	if r.hasLength() {
		rest = fmt.Append(rest, "Content-Length: ", len(r.target.Body), "\r\n")
	}
	r.rest = rest
}

// appendText appends the whole request as HTTP/1.1 text.
func (r *request) appendText(text []byte, key string, seq uint64) []byte {
	text = append(text, r.line...)
	if r.way == plan.ViaQuery {
		text = append(text, '?')
		text = append(text, r.query(key)...)
	}
	text = append(text, r.rest...)
	text = append(text, seqHeader+": "...)
	text = strconv.AppendUint(text, seq, 10)
	if r.way == plan.ViaHeader {
		text = append(text, "\r\n"...)
		text = append(text, r.keyName...)
		text = append(text, ": "...)
		text = append(text, key...)
	}
	text = append(text, "\r\n\r\n"...)
	return append(text, r.target.Body...)
}

// query is the query with a key in it.
func (r *request) query(key string) string {
	query := url.QueryEscape(r.keyName) + "=" + url.QueryEscape(key)
	if r.url.RawQuery != "" {
		query = r.url.RawQuery + "&" + query
	}
	return query
}

// httpRequest is the same request for net/http, but for its body and context.
func (r *request) httpRequest(key string, seq uint64) *http.Request {
	u, header := r.url, maps.Clone(r.header)
	header[seqHeader] = []string{strconv.FormatUint(seq, 10)}
	switch r.way {
	case plan.ViaHeader:
		header[r.keyName] = []string{key}
	case plan.ViaQuery:
		with := *r.url
		with.RawQuery = r.query(key)
		u = &with
	}
	return &http.Request{
		Method: r.target.Method, URL: u, Host: r.host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(r.target.Body)),
	}
}

// source is the address to send from; "" for any.
func (r *request) source(key string) string {
	if r.way == plan.ViaSource {
		return key
	}
	return ""
}
