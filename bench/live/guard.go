package live

import (
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// A guard decides which requests reach the page. A browser is the danger: it
// sends requests to loopback for whatever page its owner looks at.
//
//   - Host: a name that somebody else controls can be made to mean 127.0.0.1 (DNS
//     rebinding), and the browser then takes his page for ours. So Host must be an
//     address, localhost, or a name that was given.
//   - Origin and Sec-Fetch-Site: a request that another page makes says so, and is
//     refused, whatever it asks for. Following a link to the page itself is fine.
//   - Content-Type: what changes something must be JSON, which no form of another
//     page can send without asking first.
//   - Token: where one is set, it must come along, as a cookie that browsers do not
//     send from other sites, or as a Bearer token.
//
// Requests that carry none of these headers come from no browser; whoever can
// send them from this machine could run weir attack as well.
type guard struct {
	hosts []string
	token [sha256.Size]byte
	open  bool // no token is set
}

const tokenCookie = "weir-live"

func newGuard(token string, hosts []string) *guard {
	return &guard{hosts: hosts, token: sha256.Sum256([]byte(token)), open: token == ""}
}

// policy is the content security policy of the page: only files of its own,
// nothing inline, nobody around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		header.Set("Cache-Control", "no-store")
		switch {
		case !g.knownHost(r.Host):
			refuse(w, http.StatusForbidden, "this page is not served under the name "+quoted(r.Host)+" (start weir live with --allow-host to add a name)")
		case foreign(r):
			refuse(w, http.StatusForbidden, "this request comes from another web page")
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !isJSON(r):
			refuse(w, http.StatusUnsupportedMediaType, "want Content-Type: application/json")
		case g.login(w, r):
		case !g.allowed(r):
			refuse(w, http.StatusUnauthorized, "the token is missing: open the address that weir live printed, with ?token= in it")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// knownHost reports whether a Host is one that nobody else can bring here.
func (g *guard) knownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	name = strings.ToLower(name)
	return name == "localhost" || slices.Contains(g.hosts, name)
}

// foreign reports whether another page had the browser send this.
func foreign(r *http.Request) bool {
	link := (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" && !link {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host || u.Scheme != "http" && u.Scheme != "https"
}

func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// login takes the token out of the address and into a cookie.
func (g *guard) login(w http.ResponseWriter, r *http.Request) bool {
	token := r.URL.Query().Get("token")
	if g.open || r.URL.Path != "/" || !g.matches(token) {
		return false
	}
	//nolint:gosec // G124: without Secure: the page is served over plain HTTP
	http.SetCookie(w, &http.Cookie{Name: tokenCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return true
}

func (g *guard) allowed(r *http.Request) bool {
	if g.open {
		return true
	}
	if bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found {
		return g.matches(bearer)
	}
	cookie, err := r.Cookie(tokenCookie)
	return err == nil && g.matches(cookie.Value)
}

// matches compares in constant time, whatever the length.
func (g *guard) matches(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}

func quoted(text string) string {
	const most = 80
	if len(text) > most {
		text = text[:most] + "…"
	}
	return `"` + text + `"`
}
