package run_test

import (
	"os"
	"path/filepath"
	"testing"

	"weir/bench/run"
)

// A manifest is refused with a reason, or can be changed and read again.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schema":1,"suite":"attack","started":"2026-11-23T18:12:00Z","attacks":[{"plan":{"name":"a","shape":"max","targets":null},"counts":{"sent":3}}]}`))
	f.Add([]byte(`{"schema":9}`))
	f.Add([]byte(`{"schema":1,"attacks":[{"plan":{"limit":"1/3h,capacity=2","shape":""}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		folder, err := run.Open(dir)
		if err != nil {
			return
		}
		if err := folder.Update(func(m *run.Manifest) { m.Interrupted = true }); err != nil {
			t.Fatalf("%s is read and cannot be written: %v", text, err)
		}
		if _, err := run.Open(dir); err != nil {
			t.Errorf("%s is written so that it cannot be read: %v", text, err)
		}
	})
}
