package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	masters    = 3
	slots      = 16384
	nodeAway   = 1500 * time.Millisecond // cluster-node-timeout
	failoverIn = 4 * nodeAway            // the timeout, the vote, and the replica's own delay of up to 1 s
)

// startCluster starts 3 masters and a replica of each.
func startCluster(ctx context.Context, dir string) (nodes []*redisServer, err error) {
	for i := range 2 * masters {
		name := "node" + strconv.Itoa(i+1)
		node, err := startRedis(ctx, dir, name, nil, "--cluster-enabled", "yes", "--cluster-config-file", name+".conf",
			"--cluster-node-timeout", strconv.FormatInt(nodeAway.Milliseconds(), 10))
		if node != nil {
			nodes = append(nodes, node)
		}
		if err != nil {
			return nodes, err
		}
	}
	for i, node := range nodes {
		host, port, _ := net.SplitHostPort(nodes[0].addr) // it is ours
		err = errors.Join(err, node.do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1))
		if i > 0 {
			err = errors.Join(err, node.do(ctx, "CLUSTER", "MEET", host, port))
		}
		if i < masters {
			err = errors.Join(err, node.do(ctx, "CLUSTER", "ADDSLOTSRANGE", slots*i/masters, slots*(i+1)/masters-1))
		}
	}
	if err != nil {
		return nodes, err
	}
	known := func() bool {
		for _, node := range nodes {
			if text, err := node.admin.ClusterInfo(ctx).Result(); err != nil || !strings.Contains(text, "cluster_known_nodes:6") {
				return false
			}
		}
		return true
	}
	if err := await(ctx, "the cluster's nodes to know each other", known); err != nil {
		return nodes, err
	}
	for i, node := range nodes[masters:] {
		if err := node.replicate(ctx, nodes[i]); err != nil {
			return nodes, err
		}
	}
	return nodes, await(ctx, "the cluster to be whole", func() bool {
		for i, node := range nodes {
			if !node.clusterOK(ctx) || i >= masters && node.info(ctx, "master_link_up_since_seconds") < 0 && !node.linked(ctx) {
				return false
			}
		}
		return true
	})
}

// replicate makes the node a replica of a master, as soon as it knows it.
func (r *redisServer) replicate(ctx context.Context, of *redisServer) error {
	id, err := of.admin.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return fmt.Errorf("cluster myid: %w", err)
	}
	return await(ctx, r.name+" to become a replica", func() bool { return r.do(ctx, "CLUSTER", "REPLICATE", id) == nil })
}

func (r *redisServer) clusterOK(ctx context.Context) bool {
	text, err := r.admin.ClusterInfo(ctx).Result()
	return err == nil && strings.Contains(text, "cluster_state:ok")
}

// linked reports whether a replica hears its master.
func (r *redisServer) linked(ctx context.Context) bool {
	text, err := r.admin.Info(ctx, "replication").Result()
	return err == nil && strings.Contains(text, "master_link_status:up")
}

func clusterRows() []Row {
	const load = 600
	rig := Rig{Cluster: true, Limit: "10/s,capacity=20", Keys: 30, Rate: load, For: 14 * time.Second}
	return []Row{
		{
			Name: "cluster-failover", Fault: "Redis Cluster of 3 + 3: the master of a third of the keys is killed (−9) at 2 s",
			Must: "its keys are decided again within the cluster's own failover time; at most one capacity per key extra",
			Rig:  rig,
			Acts: []Act{
				{2 * time.Second, "kill", func(s *Scene) error { s.cluster[0].kill(); return nil }},
				{2 * time.Second, "failover", func(s *Scene) error {
					return await(s.ctx, "the replica to take over", func() bool {
						return s.cluster[masters].clusterOK(s.ctx) && s.cluster[masters].role(s.ctx) == "master"
					})
				}},
			},
			Proofs: []Proof{timely(failedOver), statuses(200, 429, 503), excessAtMost(1), sane},
		},
		{
			Name: "cluster-slots-moved", Fault: "Redis Cluster of 3 + 3: the slots of all keys of one master are moved to another, live, from 2 s on",
			Must: "takes go on; nothing extra",
			Rig:  rig,
			Acts: []Act{{2 * time.Second, "move", moveSlots}},
			// A take that asks in the middle of a move may be told to try again.
			Proofs: []Proof{timely(mostlyAnswered), statuses(200, 429, 503), holds, sane},
		},
	}
}

func (r *redisServer) role(ctx context.Context) string {
	text, err := r.admin.Info(ctx, "replication").Result()
	if err == nil && strings.Contains(text, "role:master") {
		return "master"
	}
	return "slave"
}

// failedOver measures from the kill to the last 503 of a key that then was decided.
func failedOver(s *Scene) Finding {
	const claim = "every key is decided again within the cluster's own failover and 1 s"
	killed, over := s.ended("kill"), s.ended("failover")
	decided := map[string]int64{} // first decision after the failover
	last := map[string]int64{}    // 503
	for i := range s.records {
		r := &s.records[i]
		if r.Status == 503 {
			last[r.Key] = max(last[r.Key], r.Done)
		}
		if r.Sent > over.UnixNano() && r.Quota.DecidedAt > 0 && decided[r.Key] == 0 {
			decided[r.Key] = r.Done
		}
	}
	longest := time.Duration(0)
	for _, at := range last {
		longest = max(longest, time.Duration(at-killed.UnixNano()))
	}
	cluster := over.Sub(killed)
	return found(len(decided) == s.row.Rig.Keys && longest <= cluster+time.Second && cluster <= failoverIn+slack, claim,
		"the cluster took %s (node timeout %s), the last 503 was %s after the kill; %d of %d keys decided after it, %d saw a 503",
		cluster.Round(time.Millisecond), nodeAway, longest.Round(time.Millisecond), len(decided), s.row.Rig.Keys, len(last))
}

// mostlyAnswered wants no more than 1 % of the requests of a move to fail.
func mostlyAnswered(s *Scene) Finding {
	failed := s.statusesWithin(s.began("move"), s.ended("move").Add(time.Second))
	return found(failed[503]*100 <= total(failed) && total(failed) > 0, "takes go on while slots move: at most 1 % are 503",
		"%s, while the move took %s", tally(failed), s.ended("move").Sub(s.began("move")).Round(time.Millisecond))
}

// moveSlots moves every slot of the first master that holds a key to the second,
// as redis-cli --cluster reshard does: key by key, while takes go on.
func moveSlots(s *Scene) error {
	from, to := s.cluster[0], s.cluster[1]
	fromID, err := from.admin.Do(s.ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return err
	}
	toID, err := to.admin.Do(s.ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return err
	}
	moved := map[int64]bool{}
	for _, key := range s.plan().Chooser().Names() {
		slot, err := from.admin.ClusterKeySlot(s.ctx, s.bucket(key)).Result()
		if err != nil {
			return err
		}
		if slot < slots/masters && !moved[slot] {
			moved[slot] = true
			if err := moveSlot(s, slot, from, to, fromID, toID); err != nil {
				return fmt.Errorf("move slot %d: %w", slot, err)
			}
		}
	}
	if len(moved) == 0 {
		return errors.New("no key is on the first master")
	}
	return nil
}

func moveSlot(s *Scene, slot int64, from, to *redisServer, fromID, toID string) error {
	host, port, _ := net.SplitHostPort(to.addr) // it is ours
	if err := errors.Join(
		to.do(s.ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID),
		from.do(s.ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID),
	); err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond) // takes meet a slot on its way
	for {
		keys, err := from.admin.ClusterGetKeysInSlot(s.ctx, int(slot), 10).Result()
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			if err := from.do(s.ctx, "MIGRATE", host, port, key, 0, 1000); err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
		}
	}
	return errors.Join(
		to.do(s.ctx, "CLUSTER", "SETSLOT", slot, "NODE", toID),
		from.do(s.ctx, "CLUSTER", "SETSLOT", slot, "NODE", toID),
	)
}

// bucket is the name in Redis of a client's bucket.
func (s *Scene) bucket(key string) string { return "tb:user:" + hashed(key) }
