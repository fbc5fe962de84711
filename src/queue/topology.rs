//! Declares the queues and the exchange. What exists with other arguments is used as it is.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use super::request::{Reply, RequestError, answered};

/// How many events without a queue are kept. Beyond that the oldest are dropped.
pub const UNROUTED_MAX: i64 = 100_000;
/// How often a dead letter may be looked at: as often as people can. (All brokers accept this number; -1 for "no limit"
/// is refused before 4.0.)
const LOOKS_MAX: i64 = 1_000_000_000;

/// The names, as configured.
#[derive(Debug, Clone)]
pub struct Names {
    /// `amqp.queue`
    pub jobs: String,
    /// `amqp.exchange`
    pub events: String,
    /// `amqp.dead_queue`
    pub dead: String,
    /// `amqp.unrouted_queue`
    pub unrouted: String,
}

impl Names {
    /// The worker's own queues. No producer may have messages put into these.
    #[must_use]
    pub fn queues(&self) -> [&str; 3] {
        [&self.jobs, &self.dead, &self.unrouted]
    }
}

/// Something exists already and differs from what we would declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `queue comet.jobs`
    pub what: String,
    /// The broker's message: which argument differs, its value, and the value that we wanted.
    pub difference: String,
    /// What is weaker because of it.
    pub consequence: &'static str,
}

/// Why the topology is incomplete.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {message}")]
pub struct TopologyError {
    pub what: String,
    pub message: String,
}

#[derive(Debug, Clone)]
enum Thing {
    Exchange,
    Queue(FieldTable),
}

/// Declares what is missing. With `declare = false` it only checks that everything exists.
///
/// # Errors
///
/// [`TopologyError`] if something is missing and can't be declared, or the connection broke.
pub async fn ensure(
    connection: &Connection,
    names: &Names,
    declare: bool,
) -> Result<Vec<Difference>, TopologyError> {
    let mut differences = Vec::new();
    for (name, thing, consequence) in things(names) {
        let what = thing.called(name);
        let fail = |error: RequestError| TopologyError { what: what.clone(), message: error.to_string() };
        if !declare {
            attempt(connection, name, &thing, true).await.map_err(|error| TopologyError {
                what: what.clone(),
                message: format!("{error} (amqp.declare is false, so the operator makes it)"),
            })?;
            continue;
        }
        match attempt(connection, name, &thing, false).await {
            Ok(_) => {}
            Err(error) if error.reply() == Some(Reply::PreconditionFailed) => {
                attempt(connection, name, &thing, true).await.map_err(fail)?;
                differences.push(Difference { what, difference: error.to_string(), consequence });
            }
            Err(error) => return Err(fail(error)),
        }
    }
    Ok(differences)
}

/// What exists under one of our names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `queue comet.jobs`
    pub what: String,
    pub name: String,
    pub presence: Presence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    Missing,
    /// For an exchange both counts are 0.
    There {
        messages: u32,
        consumers: u32,
        difference: Option<Difference>,
    },
    /// It exists, and this user may not declare it. So its arguments can't be compared.
    NotOurs {
        messages: u32,
        consumers: u32,
        refusal: String,
    },
}

/// Looks at everything and declares nothing that is missing. What exists is compared by declaring it once more, which
/// changes nothing, because AMQP has no other way to ask for the arguments. (If it is deleted at that moment, the
/// worker's own declaration takes its place.)
///
/// # Errors
///
/// [`TopologyError`] if RabbitMQ doesn't answer, or the connection broke.
pub async fn look(connection: &Connection, names: &Names) -> Result<Vec<Seen>, TopologyError> {
    let mut seen = Vec::new();
    for (name, thing, consequence) in things(names) {
        let what = thing.called(name);
        match presence(connection, name, &thing, consequence).await {
            Ok(presence) => seen.push(Seen { what, name: name.clone(), presence }),
            Err(error) => return Err(TopologyError { what, message: error.to_string() }),
        }
    }
    Ok(seen)
}

async fn presence(
    connection: &Connection,
    name: &str,
    thing: &Thing,
    consequence: &'static str,
) -> Result<Presence, RequestError> {
    let (messages, consumers) = match attempt(connection, name, thing, true).await {
        Err(error) if error.reply() == Some(Reply::NotFound) => return Ok(Presence::Missing),
        counts => counts?,
    };
    let Err(error) = attempt(connection, name, thing, false).await else {
        return Ok(Presence::There { messages, consumers, difference: None });
    };
    match error.reply() {
        Some(Reply::PreconditionFailed) => {
            let (what, difference) = (thing.called(name), error.to_string());
            let difference = Some(Difference { what, difference, consequence });
            Ok(Presence::There { messages, consumers, difference })
        }
        Some(Reply::AccessRefused) => {
            Ok(Presence::NotOurs { messages, consumers, refusal: error.to_string() })
        }
        Some(Reply::NotFound) | None => Err(error),
    }
}

/// How many messages wait in a queue; `None` if that is unknown.
pub async fn messages(connection: &Connection, queue: &str) -> Option<u32> {
    let thing = Thing::Queue(FieldTable::default());
    attempt(connection, queue, &thing, true).await.ok().map(|(messages, _)| messages)
}

/// Everything that the worker needs, and what is weaker if it exists with other arguments.
fn things(names: &Names) -> [(&String, Thing, &'static str); 4] {
    [
        (
            &names.dead,
            Thing::Queue(dead_arguments()),
            "a dead letter may be lost with the broker's node, or be moved to the end of its queue when it is looked at often",
        ),
        (
            &names.unrouted,
            Thing::Queue(unrouted_arguments()),
            "unrouted events may be lost, or grow without bound",
        ),
        (
            &names.jobs,
            Thing::Queue(job_arguments(&names.dead)),
            "jobs that expire or reach a delivery limit may be lost",
        ),
        (&names.events, Thing::Exchange, "consumers that bind with routing keys may get nothing"),
    ]
}

impl Thing {
    fn called(&self, name: &str) -> String {
        match self {
            Self::Exchange => format!("exchange {name}"),
            Self::Queue(_) => format!("queue {name}"),
        }
    }
}

/// Declares on a channel of its own, because a refused declare closes its channel. Returns the numbers of messages
/// and consumers, 0 for an exchange.
async fn attempt(
    connection: &Connection,
    name: &str,
    thing: &Thing,
    passive: bool,
) -> Result<(u32, u32), RequestError> {
    let name = ShortString::from(name);
    let declaring = async {
        let channel = connection.create_channel().await?;
        let counts = match thing {
            Thing::Exchange => {
                let options =
                    ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default()).await?;
                (0, 0)
            }
            Thing::Queue(arguments) => {
                let options =
                    QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
                let queue = channel.queue_declare(name, options, arguments.clone()).await?;
                (queue.message_count(), queue.consumer_count())
            }
        };
        let _ = channel.close(200, "declared".into()).await;
        Ok::<_, lapin::Error>(counts)
    };
    answered(declaring).await
}

/// The arguments of the job queue. Dead-lettering is the broker's at-least-once kind: a message that expires or
/// reaches a delivery limit waits until the dead-letter queue has confirmed it.
fn job_arguments(dead: &str) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(dead)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

/// From RabbitMQ 4.0 on, a quorum queue without a limit of its own drops a message that was put back twenty times, and
/// each look at a dead letter puts it back.
fn dead_arguments() -> FieldTable {
    table([("x-queue-type", text("quorum")), ("x-delivery-limit", AMQPValue::LongLongInt(LOOKS_MAX))])
}

/// Whether the dead-letter queue has the arguments that we declare; without it, it is made. `false` if that can't be
/// seen.
pub(super) async fn dead_is_as_declared(connection: &Connection, names: &Names) -> bool {
    attempt(connection, &names.dead, &Thing::Queue(dead_arguments()), false).await.is_ok()
}

fn unrouted_arguments() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-max-length", AMQPValue::LongLongInt(UNROUTED_MAX)),
        ("x-overflow", text("drop-head")),
    ])
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
