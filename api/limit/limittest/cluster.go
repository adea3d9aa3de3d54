package limittest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterMasters is how many servers share the hash slots of [Cluster].
const clusterMasters = 3

// Cluster starts a private Redis Cluster of three masters on loopback, stops it
// when the test ends, and returns its URL. Without a server in PATH it does as
// [Redis] does.
func Cluster(tb testing.TB) (clusterURL string) {
	tb.Helper()
	program := mustFindRedis(tb)
	ctx, query := context.Background(), url.Values{}
	nodes := make([]*redis.Client, clusterMasters)
	for i := range nodes {
		port := startNode(tb, program)
		query.Add("addr", "127.0.0.1:"+port)
		nodes[i] = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
		defer nodes[i].Close()
		await(tb, "start a cluster node", func() error { return nodes[i].Ping(ctx).Err() })
		const slots = 16384
		first, last := i*slots/clusterMasters, (i+1)*slots/clusterMasters-1
		if err := nodes[i].ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			tb.Fatal(err)
		}
		if err := nodes[0].ClusterMeet(ctx, "127.0.0.1", port).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	for _, node := range nodes {
		await(tb, "join a cluster", func() error {
			known, err := node.ClusterSlots(ctx).Result() //nolint:staticcheck // Redis 6.2 has no CLUSTER SHARDS
			if err == nil && len(known) != clusterMasters {
				err = fmt.Errorf("%d of %d masters known", len(known), clusterMasters)
			}
			if err == nil && !strings.Contains(node.ClusterInfo(ctx).Val(), "cluster_state:ok") {
				err = errors.New("cluster_state is not ok")
			}
			return err
		})
	}
	return "redis://" + query.Get("addr") + "?" + query.Encode()
}

// startNode starts a server for a cluster on a free port; it speaks to other
// nodes on that port + 10000.
func startNode(tb testing.TB, program string) (port string) {
	tb.Helper()
	for range 100 {
		listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		n := listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on tcp
		_ = listener.Close()
		if n > 55535 {
			n -= 20000 // still above the ports that need privileges
		}
		port = strconv.Itoa(n)
		bus, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(n+10000))
		if err != nil {
			continue
		}
		_ = bus.Close()
		server := exec.CommandContext(context.Background(), program, "--port", port, "--bind", "127.0.0.1",
			"--cluster-enabled", "yes", "--save", "", "--appendonly", "no", "--dir", tb.TempDir())
		if err := server.Start(); err != nil {
			tb.Fatalf("start %s: %v", program, err)
		}
		tb.Cleanup(func() {
			_ = server.Process.Kill()
			_ = server.Wait()
		})
		return port
	}
	tb.Fatal("no free port for a cluster node")
	return ""
}

// await repeats attempt until it succeeds, for at most 20 s.
func await(tb testing.TB, what string, attempt func() error) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := attempt()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s: %v", what, err)
		}
	}
}
