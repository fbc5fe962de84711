//! Measures throughput and CPU per job, side by side. All jobs wait in the queue, generations are instant, and the
//! first poll is due at once.

use anyhow::Result;

use crate::contenders::{self, Contender, Kind};
use crate::report::{Bound, Limit, Median, Section, Table, figure};
use crate::run::{Plan, Run, run};
use crate::sim::Sim;
use crate::stand::Stand;
use crate::{Effort, peers, say};

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let sim = Sim::start(stand, "fixed:0", &[]).await?;
    let mut contenders = vec![Contender::floor(), Contender::without_receipts(), Contender::worker()];
    if effort.peers {
        contenders.extend(Contender::peers(stand).await);
    }
    let mut runs: Vec<Vec<Run>> = contenders.iter().map(|_| Vec::new()).collect();
    let mut notes = Vec::new();
    for round in 1..=effort.rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            if let Kind::Missing(_) = contender.kind {
                continue;
            }
            match run(stand, &sim, contender, Plan::all(jobs(contender, effort))).await {
                Ok(measured) => {
                    say(&format!(
                        "round {round}: {}: {} jobs/s, {} ms of CPU a job, {:.0} MiB",
                        contender.name,
                        figure(measured.jobs_per_s),
                        figure(measured.cpu_ms_per_job),
                        measured.memory.most
                    ));
                    runs.push(measured);
                }
                // The worker's own error fails the benchmark; a peer's error is reported in the table.
                Err(error) if matches!(contender.kind, Kind::Peer(_)) => {
                    say(&format!("!! round {round}: {} FAILED: {error:#}", contender.name));
                    notes.push(format!("**{}** failed in round {round}: {error}", contender.name));
                }
                Err(error) => return Err(error),
            }
        }
    }
    let mut section = section(&contenders, &runs, effort);
    section.notes.extend(versions(stand, &contenders).await?);
    section.notes.extend(notes);
    Ok(section)
}

fn jobs(contender: &Contender, effort: &Effort) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    let jobs = (effort.jobs as f64 * contender.share) as u64;
    jobs.max(10)
}

fn section(contenders: &[Contender], runs: &[Vec<Run>], effort: &Effort) -> Section {
    let rates: Vec<_> = runs.iter().map(|runs| Median::of(runs.iter().map(|run| run.jobs_per_s))).collect();
    let costs: Vec<_> =
        runs.iter().map(|runs| Median::of(runs.iter().map(|run| run.cpu_ms_per_job))).collect();
    let of = |name: &str, medians: &[Option<Median>]| {
        let place = contenders.iter().position(|contender| contender.name == name)?;
        Some((*medians.get(place)?)?.value)
    };
    let head = ["", "jobs", "jobs/s", "of the floor's", "CPU ms a job", "× the floor's", "resident MiB"];
    let mut table = Table::new(&head);
    for (((contender, runs), rate), cost) in contenders.iter().zip(runs).zip(&rates).zip(&costs) {
        let memory = Median::of(runs.iter().map(|run| run.memory.most));
        let (Some(rate), Some(cost), Some(memory)) = (rate, cost, memory) else {
            let why = match &contender.kind {
                Kind::Missing(why) => format!("**not measured**: {why}"),
                Kind::Worker(_) | Kind::Floor | Kind::Peer(_) => "**failed**".to_owned(),
            };
            table.row([contender.name.to_owned(), why].into_iter().chain(vec![String::new(); 5]));
            continue;
        };
        let against = |value: f64, medians: &[Option<Median>]| {
            of(contenders::FLOOR, medians).map_or(String::new(), |floor| figure(value / floor))
        };
        table.row([
            contender.name.to_owned(),
            jobs(contender, effort).to_string(),
            rate.to_string(),
            against(rate.value, &rates),
            cost.to_string(),
            against(cost.value, &costs),
            format!("{:.0}", memory.value),
        ]);
    }
    let how = format!(
        "All jobs wait in the queue; generations are instant, the first look is due at once, {} deliveries are held at once, nothing is \
         flushed to the disk. Median (least–most) of {} rounds in turn; the first tenth of each run is not counted.",
        contenders::PREFETCH,
        effort.rounds
    );
    let mut section = Section::new("throughput", "Throughput and CPU per job", how);
    section.tables.push(table);
    let mut bound = |what: &str, one: &str, other: &str, medians: &[Option<Median>], limit: Limit| {
        if let (Some(one), Some(other)) = (of(one, medians), of(other, medians)) {
            section.bounds.push(Bound { what: what.to_owned(), measured: one / other, limit, unit: " ×" });
        }
    };
    let (off, on, floor) = (contenders::RECEIPTS_OFF, contenders::RECEIPTS_ON, contenders::FLOOR);
    bound("throughput, receipts off, of the floor's", off, floor, &rates, Limit::AtLeast(0.8));
    bound("throughput, receipts on, of the floor's", on, floor, &rates, Limit::AtLeast(0.65));
    bound("CPU per job, receipts off, of the floor's", off, floor, &costs, Limit::AtMost(1.4));
    bound("CPU per job, receipts off, of Node's", off, contenders::NODE, &costs, Limit::AtMost(1.0));
    bound("CPU per job, receipts on, of the floor's", on, floor, &costs, Limit::AtMost(1.8));
    section
}

async fn versions(stand: &Stand, contenders: &[Contender]) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for contender in contenders {
        if let Kind::Peer(peer) = contender.kind {
            notes.push(format!("{}: {}.", contender.name, peers::versions(stand, peer).await?));
        }
    }
    Ok(notes)
}
