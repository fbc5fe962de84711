//! `comet-worker spend`: what the fleet has spent, by day and by label.

use super::fleet::FleetReader;
use super::output::Output;
use super::render::{count, one_line};
use crate::config::Config;
use crate::fleet::spend::{DAYS_KEPT, DaySpend, SpendState};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker spend
  comet-worker spend --days 30
  comet-worker spend --json | jq -r '.days[0].labels | to_entries[] | \"\\(.key) \\(.value.units)\"'
Units are the provider's, as it says in each result; they are counted in Redis when a job's end is
published. spend.label names the key of a job's metadata by which they are counted as well,
spend.unit_price adds money, and spend.max_units_per_day bounds a day.
Exit code: 0 shown, 1 Redis didn't answer.")]
pub(super) struct Arguments {
    /// How many days, today included; days are kept for 40
    #[arg(long, value_name = "NUMBER", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_KEPT)))]
    days: u32,
    /// JSON: one object, `today` and `days`
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let reader = FleetReader::new(config)?;
    let today = reader.spend_today().await?;
    let days = reader.spend(arguments.days).await?;
    let mut output = Output::plain();
    if arguments.json {
        output.data(&serde_json::json!({ "today": today, "days": days }).to_string());
    } else {
        output.data(&text(&today, &days, &config.spend.rules.label));
    }
    output.check()
}

/// Today in one line, and a table of the days.
fn text(today: &SpendState, days: &[DaySpend], label: &str) -> String {
    let mut lines = vec![format!("today: {}", words(today)), String::new()];
    let money = days.iter().any(|day| day.money.is_some());
    let column = |text: &str| if money { format!("{text:>14}  ") } else { String::new() };
    lines.push(format!(
        "DAY         {:>12}  {}{:>7}  {:>13}  {:>15}",
        "UNITS",
        column("MONEY"),
        "JOBS",
        "WITHOUT UNITS",
        "PERHAPS CHARGED"
    ));
    for day in days {
        let amount = day.money.as_ref().map(ToString::to_string).unwrap_or_default();
        lines.push(format!(
            "{}  {:>12}  {}{:>7}  {:>13}  {:>15}",
            day.day,
            day.spent().to_string(),
            column(&amount),
            day.jobs,
            day.unsaid,
            day.perhaps
        ));
        let mut labels: Vec<_> = day.labels.iter().collect();
        labels.sort_by_key(|(_, spend)| std::cmp::Reverse(spend.units()));
        for (value, spend) in labels {
            let value = if value.is_empty() { "(others)" } else { value };
            lines.push(one_line(&format!(
                "  {label} {value}: {} units, {}",
                spend.units,
                count(spend.jobs, "job")
            )));
        }
    }
    lines.join("\n")
}

/// `96 units of 1000, and about 24 for 3 running; 13.44 USD`
pub(super) fn words(today: &SpendState) -> String {
    let mut words = format!("{} units", today.units);
    if let Some(max) = &today.max {
        words += &format!(" of {max}");
    }
    if today.running > 0 && today.expected != "0" {
        words += &format!(", and about {} for {} running", today.expected, today.running);
    }
    if let Some(money) = &today.money {
        words += &format!("; {money}");
    }
    if !today.complete {
        words += "; the ends before a loss of Redis are being counted";
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fleet::spend::LabelSpend;
    use crate::job::spend::{SpendToday, UnitPrice, Units};

    #[test]
    fn days_are_a_table_and_today_a_line() {
        let price: Option<UnitPrice> = "0.14 USD".parse().ok();
        let today = SpendToday {
            spent: Units::whole(96),
            running: 3,
            per_job: Some(Units::whole(8)),
            complete: true,
        };
        let today = SpendState::of("2026-11-28".to_owned(), &today, Some(Units::whole(1000)), price.as_ref());
        let label = |units: &str, jobs| LabelSpend { units: units.to_owned(), jobs };
        let day = DaySpend {
            day: "2026-11-28".to_owned(),
            units: "88".to_owned(),
            estimated: "8".to_owned(),
            jobs: 11,
            unsaid: 1,
            perhaps: 2,
            money: None,
            labels: BTreeMap::from([("7".to_owned(), label("8", 1)), ("42".to_owned(), label("80", 10))]),
        };
        let shown = text(&today, &[day.at(price.as_ref())], "customer");
        assert_eq!(
            shown,
            "today: 96 units of 1000, and about 24 for 3 running; 13.44 USD\n\n\
             DAY                UNITS           MONEY     JOBS  WITHOUT UNITS  PERHAPS CHARGED\n\
             2026-11-28            96       13.44 USD       11              1                2\n  \
             customer 42: 80 units, 10 jobs\n  \
             customer 7: 8 units, 1 job"
        );
    }
}
