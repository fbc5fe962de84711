use super::*;
use crate::job::{Charged, Failure, Made, Reason, Success, TaskId};

#[test]
fn what_happened_is_counted_under_its_name() {
    let metrics = Metrics::new();
    let task_id = TaskId::new("t-1").unwrap();
    let success = Success { task_id: task_id.clone(), made: Made::Images(Vec::new()), units: None };
    metrics.job_finished(&Outcome::Succeeded(success));
    metrics.job_finished(&Outcome::Failed(Failure {
        reason: Reason::Rejected,
        message: String::new(),
        provider_code: None,
        charged: Charged::No,
        task_id: None,
        units: None,
        faults: Vec::new(),
    }));
    metrics.submitted(&SubmitOutcome::Accepted(task_id), Duration::from_millis(240));
    metrics.polled(&TaskStatus::Running);
    metrics.reconnected(Service::Redis);
    metrics.event_published(EventKind::Succeeded);
    metrics.event_unrouted();
    metrics.dead_letter(DeadReason::Conflict);
    metrics.requeued(RequeueReason::Stopping);
    metrics.handed_back(HandedBack::Copy);
    metrics.job_panicked();
    metrics.misfit();
    metrics.generated_again();
    metrics.paused(PauseReason::Account, true);
    metrics.stored(Duration::from_millis(310));
    metrics.timings(&Timings { queued: Some(12), generate: Some(24_100), ..Timings::default() });
    metrics.looked_at(0);
    metrics.looked_at(3);
    metrics.end_seen(Duration::from_millis(1200));
    let text = metrics.clone().encode();
    for line in [
        "comet_polls_per_job_count 1",
        "comet_polls_per_job_sum 3.0",
        "comet_poll_gap_seconds_bucket{le=\"1.0\"} 0",
        "comet_poll_gap_seconds_bucket{le=\"1.5\"} 1",
        "comet_jobs_finished_total{outcome=\"succeeded\",reason=\"\"} 1",
        "comet_jobs_finished_total{outcome=\"failed\",reason=\"rejected\"} 1",
        "comet_submits_total{answer=\"accepted\"} 1",
        "comet_polls_total{view=\"running\"} 1",
        "comet_reconnects_total{service=\"redis\"} 1",
        "comet_events_published_total{type=\"comet.job.succeeded\"} 1",
        "comet_events_unrouted_total 1",
        "comet_dead_letters_total{reason=\"conflict\"} 1",
        "comet_handed_back_total{why=\"stopping\"} 1",
        "comet_handed_back_total{why=\"copy\"} 1",
        "comet_job_panics_total 1",
        "comet_internal_faults_total 1",
        "comet_generations_again_total 1",
        "comet_paused{reason=\"account\"} 1",
        "comet_submit_seconds_sum 0.24",
        "comet_store_seconds_count 1",
        "comet_queued_seconds_bucket{le=\"0.05\"} 1",
        "comet_generation_seconds_sum 24.1",
        "comet_generation_seconds_bucket{le=\"20.0\"} 0",
        "comet_generation_seconds_bucket{le=\"30.0\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    metrics.paused(PauseReason::Account, false);
    assert!(metrics.encode().contains("comet_paused{reason=\"account\"} 0\n"));
}

#[test]
fn what_alerts_look_at_starts_at_zero() {
    let text = Metrics::new().encode();
    for line in [
        "comet_paused{reason=\"storage\"} 0",
        "comet_standstill{what=\"message\"} 0",
        "comet_dead_letters_total{reason=\"invalid_properties\"} 0",
        "comet_submits_total{answer=\"unknown\"} 0",
        "comet_polls_total{view=\"not_found\"} 0",
        "comet_jobs_finished_total{outcome=\"failed\",reason=\"outcome_unknown\"} 0",
        "comet_jobs_finished_total{outcome=\"cancelled\",reason=\"\"} 0",
        "comet_events_published_total{type=\"comet.job.cancelled\"} 0",
        "comet_dead_letters_total{reason=\"too_large\"} 0",
        "comet_events_unrouted_total 0",
        "comet_unknown_words_total 0",
        "comet_reconnects_total{service=\"rabbitmq\"} 0",
        "comet_jobs_held{stage=\"recovering\"} 0",
        concat!("comet_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "# UNIT comet_submit_seconds seconds",
        "# TYPE comet_jobs_finished counter",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let families = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(text.lines().filter(|line| line.starts_with("# HELP ")).count(), families);
    assert_eq!(families, 27);
}
