//! The test's own client of RabbitMQ: it publishes jobs as a user would, and reads what comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;

use super::{Place, wait_for};

pub struct Broker {
    pub connection: Connection,
    pub channel: Channel,
}

/// What a queue held.
#[derive(Debug, Clone)]
pub struct Letter {
    pub body: Vec<u8>,
    pub properties: BasicProperties,
}

impl Letter {
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.properties.headers().as_ref()?.inner().get(name)?;
        if let AMQPValue::LongString(text) = value {
            Some(text.to_string())
        } else {
            Some(format!("{value:?}"))
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Broker {
    pub async fn connect(place: &Place) -> Self {
        Self::try_connect(&place.amqp_url).await.expect("RabbitMQ at AMQP_URL")
    }

    pub async fn try_connect(url: &str) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel })
    }

    /// Waits until the worker has made the topology, then binds a queue to all events.
    pub async fn listen(&self, place: &Place) {
        let exchange = place.exchange();
        wait_for("the worker's exchange", async || {
            let channel = self.connection.create_channel().await.unwrap();
            let passive = lapin::options::ExchangeDeclareOptions { passive: true, ..Default::default() };
            let declared = channel.exchange_declare(
                exchange.as_str().into(),
                lapin::ExchangeKind::Topic,
                passive,
                FieldTable::default(),
            );
            declared.await.ok()
        })
        .await;
        let told = format!("{}.told", place.prefix);
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(told.as_str().into(), durable, FieldTable::default()).await.unwrap();
        let bound = self.channel.queue_bind(
            told.as_str().into(),
            exchange.as_str().into(),
            "job.*".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
    }

    pub async fn publish(&self, place: &Place, job: &Value) {
        self.publish_raw(place, job.to_string().as_bytes(), BasicProperties::default()).await;
    }

    pub async fn publish_raw(&self, place: &Place, body: &[u8], properties: BasicProperties) {
        let mandatory = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = self.channel.basic_publish(
            "".into(),
            place.queue().as_str().into(),
            mandatory,
            body,
            properties.with_delivery_mode(2),
        );
        let confirm = sent.await.unwrap().await.unwrap();
        assert_eq!(confirm, lapin::Confirmation::Ack(None), "not queued");
    }

    /// Publishes like a producer that has to live with a broken RabbitMQ: without a confirm nothing is known.
    pub async fn try_publish(&self, queue: &str, body: &[u8]) -> Result<(), String> {
        let mandatory = BasicPublishOptions { mandatory: true, ..Default::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let publishing = async {
            self.channel.basic_publish("".into(), queue.into(), mandatory, body, properties).await?.await
        };
        match tokio::time::timeout(Duration::from_secs(5), publishing).await {
            Ok(Ok(lapin::Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(other)) => Err(format!("{other:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no confirm".to_owned()),
        }
    }

    /// Takes one message out of a queue, if there is one.
    pub async fn take(&self, queue: &str) -> Option<Letter> {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: false }).await.unwrap()?;
        got.delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
        Some(Letter { body: got.delivery.data, properties: got.delivery.properties })
    }

    /// Takes a message and requeues it, like a worker that can't run it now.
    pub async fn give_back(&self, queue: &str) {
        let got = wait_for("the message", async || {
            self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: false }).await.unwrap()
        });
        let requeue = BasicNackOptions { requeue: true, ..Default::default() };
        got.await.delivery.acker.nack(requeue).await.unwrap();
    }

    /// Waits for the next one.
    pub async fn next(&self, queue: &str) -> Letter {
        wait_for(&format!("a message in {queue}"), async || self.take(queue).await).await
    }

    /// Collects events until `jobs` jobs have ended; by job id, all copies in order.
    pub async fn ends(&self, place: &Place, jobs: usize) -> BTreeMap<String, Vec<Letter>> {
        let told = format!("{}.told", place.prefix);
        let mut ends: BTreeMap<String, Vec<Letter>> = BTreeMap::new();
        while ends.len() < jobs {
            let letter = self.next(&told).await;
            let job = letter.json()["data"]["job_id"].as_str().unwrap().to_owned();
            ends.entry(job).or_default().push(letter);
        }
        ends
    }

    /// Returns the remaining events, without waiting.
    pub async fn rest(&self, place: &Place, ends: &mut BTreeMap<String, Vec<Letter>>) {
        while let Some(letter) = self.take(&format!("{}.told", place.prefix)).await {
            let job = letter.json()["data"]["job_id"].as_str().unwrap().to_owned();
            ends.entry(job).or_default().push(letter);
        }
    }

    /// Messages ready in a queue.
    pub async fn ready(&self, queue: &str) -> u32 {
        let channel = self.connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
            Ok(queue) => queue.message_count(),
            Err(_) => 0,
        }
    }

    /// Waits until a queue has delivered everything and got it all acknowledged. The broker itself decides that: it
    /// deletes the queue only if it is empty and unused, so this tries for a while.
    pub async fn ready_is(&self, queue: &str, count: u32) {
        wait_for(&format!("{count} messages in {queue}"), async || {
            (self.ready(queue).await == count).then_some(())
        })
        .await;
    }

    pub async fn delete_queue(&self, queue: &str) {
        if let Ok(channel) = self.connection.create_channel().await {
            let deleting = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
            let _ = tokio::time::timeout(Duration::from_secs(10), deleting).await;
        }
    }

    pub async fn delete_exchange(&self, exchange: &str) {
        if let Ok(channel) = self.connection.create_channel().await {
            let _ = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await;
        }
    }
}
