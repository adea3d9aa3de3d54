package live

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/gorilla/mux"

	"weir/bench/plan"
	"weir/bench/report"
)

//go:embed assets
var assets embed.FS

// maxForm is the most bytes that a command may have.
const maxForm = 64 << 10

func (s *Server) routes() http.Handler {
	router := mux.NewRouter()
	get := func(path string, handler http.HandlerFunc) {
		router.HandleFunc(path, handler).Methods(http.MethodGet, http.MethodHead)
	}
	post := func(path string, handler func(*http.Request) error) {
		router.Handle(path, command(handler)).Methods(http.MethodPost)
	}
	get("/", s.file("index.html"))
	get("/assets/uPlot.js", text("text/javascript", first(report.UPlot())))
	get("/assets/uPlot.css", text("text/css", style(report.UPlot())))
	get("/assets/uPlot.LICENSE", text("text/plain", third(report.UPlot())))
	router.PathPrefix("/assets/").Handler(http.FileServerFS(assets)).Methods(http.MethodGet, http.MethodHead)
	get("/api/snapshot", s.snapshot)
	router.Handle("/api/events", s.hub).Methods(http.MethodGet)
	post("/api/attack/start", s.start)
	post("/api/attack/edit", s.edit)
	post("/api/attack/stop", func(*http.Request) error { return s.session.halt() })
	post("/api/attack/reset", func(*http.Request) error { s.session.reset(); return nil })
	get("/api/runs", s.shelf.list)
	get("/api/runs/{run}", s.shelf.show)
	get("/api/runs/{run}/report.json", s.shelf.reportJSON)
	get("/runs/{run}/report.html", s.shelf.reportHTML)
	get("/download/{run}/{file}", s.shelf.download)
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "there is nothing here: the page is at /")
	})
	router.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusMethodNotAllowed, "this is not what this address is for")
	})
	return router
}

func first(text, _, _ string) string { return text }
func style(_, text, _ string) string { return text }
func third(_, _, text string) string { return text }

func text(kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		_, _ = io.WriteString(w, body) // the browser may be gone
	}
}

func (s *Server) file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, assets, "assets/"+name) }
}

// A Snapshot is all that the page needs when it is opened.
type Snapshot struct {
	Event     string         `json:"event"` // events after this one are new
	State     State          `json:"state"`
	Rings     []Ring         `json:"rings"` // the finest first; null when nothing was attacked yet
	Tables    *Tables        `json:"tables"`
	Verdict   *Verdict       `json:"verdict"`
	Watch     []WatchUpdate  `json:"watch"`
	Scenarios []scenarioForm `json:"scenarios"`
	Ceilings  ceilings       `json:"ceilings"`
	Shapes    string         `json:"shapes"` // examples of every shape
	Notes     []string       `json:"notes"`
	Server    serverFacts    `json:"server"`
}

type ceilings struct {
	Rate     float64 `json:"rate"`
	Users    int     `json:"users"`
	Duration float64 `json:"duration_s"`
}

type serverFacts struct {
	Commit string `json:"commit"`
	Heap   uint64 `json:"heap_bytes"`
}

// A scenarioForm is a scenario to pick: of weir's standard suite, which fills in
// the form, or one of k6's.
type scenarioForm struct {
	Name     string `json:"name"`
	Question string `json:"question"`
	Form     Form   `json:"form"` // only its load: targets stay as they are
}

func (s *Server) scenarios() []scenarioForm {
	found := []scenarioForm{}
	for _, entry := range plan.Standard(1, false) {
		p := entry.Plan
		if entry.Scenario != "" || len(entry.Paths) > 1 || entry.Processes > 1 {
			continue // these need more than one target or process
		}
		form := Form{Name: p.Name, Shape: p.Shape.String(), Duration: p.Duration.String(), Keys: p.Keys.Count, Spread: p.Keys.Spread}
		if p.Limit != nil {
			form.Limit = p.Limit.String()
		}
		found = append(found, scenarioForm{p.Name, p.Question, form})
	}
	for _, name := range slices.Sorted(maps.Keys(s.config.Scenarios)) {
		form := Form{Name: "k6-" + name, Scenario: name, Shape: "users:1", Duration: "15s"}
		found = append(found, scenarioForm{"k6 " + name, s.config.Scenarios[name], form})
	}
	return found
}

func (s *Server) snapshot(w http.ResponseWriter, _ *http.Request) {
	found := Snapshot{
		Event: s.hub.last(), State: s.session.now(), Verdict: s.session.shownVerdict(), Watch: []WatchUpdate{},
		Scenarios: s.scenarios(), Shapes: plan.Choices, Notes: s.config.Notes,
		Ceilings: ceilings{s.config.MaxRate, s.config.MaxUsers, s.config.MaxDuration.Seconds()},
		Server:   serverFacts{Commit: s.config.Commit, Heap: heap()},
	}
	if m := s.session.current(); m != nil {
		m.mu.Lock()
		found.Rings = m.history.all()
		m.mu.Unlock()
		tables := m.tables(time.Now().UnixNano())
		found.Tables = &tables
	}
	for _, watched := range s.watched {
		found.Watch = append(found.Watch, watched.update(time.Now().Unix(), watchSeconds))
	}
	reply(w, http.StatusOK, found)
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func (s *Server) start(r *http.Request) error {
	form := &Form{}
	if err := read(r, form); err != nil {
		return err
	}
	return s.session.start(r.Context(), form)
}

func (s *Server) edit(r *http.Request) error {
	var asked struct {
		Rate  string `json:"rate"`  // "200/s"
		Users int    `json:"users"` // of a closed shape
		Over  string `json:"over"`  // how long to take, "" is at once
	}
	if err := read(r, &asked); err != nil {
		return err
	}
	value, over := float64(asked.Users), time.Duration(0)
	var err error
	if asked.Rate != "" {
		if value, err = rateOf(asked.Rate); err != nil {
			return &fieldError{"value", err}
		}
	}
	if asked.Over != "" {
		if over, err = time.ParseDuration(asked.Over); err != nil {
			return wrong("over", "%q: want e.g. 5s", asked.Over)
		}
	}
	return s.session.edit(value, over)
}

// read decodes the JSON of a command.
func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxForm))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return &httpError{http.StatusBadRequest, fmt.Errorf("read the command: %w", err)}
	}
	return nil
}

// An httpError is an error with a status of its own.
type httpError struct {
	Status int
	Err    error
}

func (e *httpError) Error() string { return e.Err.Error() }
func (e *httpError) Unwrap() error { return e.Err }

// command answers {} when all went well, else what is wrong and in which field.
func command(do func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := do(r)
		if err == nil {
			reply(w, http.StatusOK, struct{}{})
			return
		}
		fail(w, err)
	})
}

func fail(w http.ResponseWriter, err error) {
	status, field := http.StatusUnprocessableEntity, ""
	if e := (*httpError)(nil); errors.As(err, &e) {
		status = e.Status
	}
	if e := (*fieldError)(nil); errors.As(err, &e) {
		field = e.Field
	}
	if errors.Is(err, fs.ErrNotExist) {
		status = http.StatusNotFound
	}
	reply(w, status, map[string]string{"error": err.Error(), "field": field})
}

func refuse(w http.ResponseWriter, status int, why string) {
	reply(w, status, map[string]string{"error": why, "field": ""})
}

func reply(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer could not be written","field":""}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the browser may be gone
}
