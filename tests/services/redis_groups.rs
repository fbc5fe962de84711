//! More than one Redis: the nodes of a cluster, and a primary that sentinels watch.

use std::time::Duration;

use tokio::time::sleep;

use crate::private::{PrivateRedis, free_ports};
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, amqp_url, wait_for};

const JOBS: usize = 20;

/// Three nodes that have all slots between them, and know each other.
async fn cluster() -> [PrivateRedis; 3] {
    let [one, two, three] = free_ports::<3>().map(|port| port.to_string());
    let node = async |bus: String| {
        let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--appendonly", "yes"];
        PrivateRedis::start_as(&settings).await
    };
    let nodes = [node(one.clone()).await, node(two.clone()).await, node(three.clone()).await];
    for (node, (first, last)) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        let _: () = node.query(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
    }
    for (other, bus) in nodes.iter().zip([one, two, three]).skip(1) {
        let port = other.port().to_string();
        let _: () = nodes[0].query(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
    }
    wait_for("the cluster", async || {
        for node in &nodes {
            let info: String = node.query(&["CLUSTER", "INFO"]).await;
            if !info.contains("cluster_state:ok") || !info.contains("cluster_known_nodes:3") {
                return None;
            }
        }
        Some(())
    })
    .await;
    nodes
}

/// Moves a slot, with all that is in it, as `redis-cli --cluster reshard` does; slowly enough for calls that come meanwhile.
async fn move_slot(slot: &str, from: &PrivateRedis, to: &PrivateRedis, others: &PrivateRedis) {
    let (source, target): (String, String) =
        (from.query(&["CLUSTER", "MYID"]).await, to.query(&["CLUSTER", "MYID"]).await);
    let _: () = to.query(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &source]).await;
    let _: () = from.query(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &target]).await;
    let port = to.port().to_string();
    loop {
        let keys: Vec<String> = from.query(&["CLUSTER", "GETKEYSINSLOT", slot, "3"]).await;
        if keys.is_empty() {
            break;
        }
        for key in &keys {
            let _: String = from.query(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
            sleep(Duration::from_millis(20)).await;
        }
    }
    for node in [to, from, others] {
        let _: () = node.query(&["CLUSTER", "SETSLOT", slot, "NODE", &target]).await;
    }
}

async fn all_end_well(place: &Place, broker: &Broker, sim: &Sim) {
    for _ in 0..JOBS {
        let event = broker.next(&format!("{}.told", place.prefix)).await;
        let event: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(event["type"], "comet.job.succeeded", "{event}");
    }
    sim.report().await.nothing_was_paid_for_twice();
    assert_eq!(sim.report().await.number("submits"), JOBS as u64);
}

#[tokio::test]
async fn a_cluster_is_followed_to_the_node_that_has_the_keys_also_while_they_move() {
    let nodes = cluster().await;
    let urls = nodes.each_ref().map(PrivateRedis::url).join(",");
    Place::run_on("cluster", amqp_url(), urls, async |place| {
        let sim = Sim::start(&["--durations", "uniform:500ms-3s"]).await;
        // Slots have keys of their own, which move one after the other.
        let worker = Worker::start(place, &sim, &[("GENERATION__MAX_RUNNING", "8")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("a", JOBS) {
            broker.publish(place, &job).await;
        }
        let key = format!("{{{}}}:slots", place.prefix);
        let slot: u64 = nodes[0].query(&["CLUSTER", "KEYSLOT", &key]).await;
        let owner = usize::try_from(slot / 5461).unwrap().min(2);
        let [next, last] = [(owner + 1) % 3, (owner + 2) % 3];
        wait_for("some jobs", async || (sim.report().await.number("submits") >= 4).then_some(())).await;
        move_slot(&slot.to_string(), &nodes[owner], &nodes[next], &nodes[last]).await;
        all_end_well(place, &broker, &sim).await;
        assert!(worker.log().contains("the keys are at"), "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn a_failover_by_sentinels_costs_a_pause_and_no_job() {
    let mut primary = PrivateRedis::start().await;
    let port = primary.port().to_string();
    let replica = PrivateRedis::start_as(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]).await;
    wait_for("the replica", async || {
        let info: String = replica.query(&["INFO", "replication"]).await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        sentinels.push(PrivateRedis::start_sentinel(primary.port()).await);
    }
    wait_for("the sentinels", async || {
        let known: Vec<redis::Value> = sentinels[0].query(&["SENTINEL", "SENTINELS", "main"]).await;
        let replicas: Vec<redis::Value> = sentinels[0].query(&["SENTINEL", "REPLICAS", "main"]).await;
        (known.len() == 2 && replicas.len() == 1).then_some(())
    })
    .await;
    let hosts: Vec<String> =
        sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
    let url = format!("redis-sentinel://{}/0#main", hosts.join(","));
    Place::run_on("sentinel", amqp_url(), url, async |place| {
        let sim = Sim::start(&["--durations", "uniform:1s-4s"]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("a", JOBS) {
            broker.publish(place, &job).await;
        }
        wait_for("the jobs", async || (sim.report().await.number("submits") >= 10).then_some(())).await;
        primary.kill().await;
        all_end_well(place, &broker, &sim).await;
        let role: Vec<redis::Value> = replica.query(&["ROLE"]).await;
        assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()));
    })
    .await;
}
