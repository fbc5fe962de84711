//! What RabbitMQ 4 does otherwise than 3.10: it counts deliveries and gives a message up at the twenty-first.

use crate::poison::no_message_stops_the_others;
use crate::private::PrivateRabbit;
use crate::standstills::pauses_make_a_worker_hold_no_more;
use crate::support::{Place, redis_url};

#[tokio::test]
async fn whatever_a_producer_writes_into_properties_the_others_go_on() {
    let rabbit = PrivateRabbit::start_4().await;
    Place::run_on("poison-4", rabbit.url(), redis_url(), no_message_stops_the_others).await;
}

#[tokio::test]
async fn pauses_make_a_worker_hold_no_more_than_its_bound() {
    let rabbit = PrivateRabbit::start_4().await;
    pauses_make_a_worker_hold_no_more(rabbit.url()).await;
}
