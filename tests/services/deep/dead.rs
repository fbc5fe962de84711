//! The largest dead letter that a broker takes; `dead::thirty_looks…` has one of 16 MB among others.

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use serde_json::Value;

use crate::private::PrivateRabbit;
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, redis_url};

const MIB: usize = 1024 * 1024;
/// RabbitMQ 3 takes 128 MiB by default, RabbitMQ 4 takes 16.
const SIZES: [usize; 2] = [100 * MIB, 16 * MIB];

/// A message that is too large costs the sender its channel, so each has a connection of its own.
async fn is_taken(place: &Place, bytes: usize) -> bool {
    let broker = Broker::connect(place).await;
    let (queue, body) = (place.dead_queue(), vec![b'x'; bytes]);
    let sent = broker.channel.basic_publish(
        "".into(),
        queue.as_str().into(),
        BasicPublishOptions::default(),
        &body,
        BasicProperties::default().with_delivery_mode(2),
    );
    match sent.await {
        Ok(confirm) => confirm.await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn the_largest_letter_that_the_broker_takes_is_listed_and_stays_where_it_was() {
    let rabbit = PrivateRabbit::start().await;
    Place::run_on("largeletter", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&[]).await;
        let mut maker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        maker.says("taking jobs").await;
        assert!(maker.stop().await.success());
        let mut taken = None;
        for bytes in SIZES {
            if taken.is_none() && is_taken(place, bytes).await {
                taken = Some(bytes);
            }
        }
        let taken = taken.expect("this broker takes neither");
        for _ in 0..2 {
            let listed = tool(&environment(place, &sim.url), &["dead", "list", "--json"]).await;
            assert_eq!(listed.code, Some(0), "{}", listed.words);
            let letter: Value = serde_json::from_str(listed.data.trim()).unwrap();
            assert_eq!(letter["bytes"], taken, "{letter}");
        }
        broker.ready_is(&place.dead_queue(), 1).await;
    })
    .await;
}
