use super::*;
use crate::job::{Charged, Failure, Made, Reason, Success, TaskId};

#[test]
fn what_happened_is_counted_under_its_name() {
    let metrics = Metrics::new();
    let task_id = TaskId::new("t-1").unwrap();
    let success = Success { task_id: task_id.clone(), made: Made::default(), units: None };
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
    metrics.redis_called(Duration::from_millis(2), true);
    metrics.publish_ended(Duration::from_millis(3), false);
    metrics.downloaded(true);
    metrics.file_stored(1024);
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
        "comet_redis_seconds_bucket{le=\"0.0025\"} 1",
        "comet_publish_seconds_bucket{le=\"0.0025\"} 0",
        "comet_service_errors_total{service=\"redis\"} 1",
        "comet_service_errors_total{service=\"rabbitmq\"} 0",
        "comet_downloads_total{result=\"arrived\"} 1",
        "comet_stored_bytes_total 1024",
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
    assert_eq!(families, 34, "those of the whole fleet are shown by one worker");
}

#[test]
fn what_was_paid_is_counted_by_model_and_what_was_paid_in_vain_apart() {
    let metrics = Metrics::new();
    let success = |units: &str| {
        let task_id = TaskId::new("t-1").unwrap();
        Outcome::Succeeded(Success { task_id, made: Made::default(), units: Some(units.to_owned()) })
    };
    for units in ["3.5", " 1 ", "", "free", "-2", "inf", "NaN"] {
        metrics.paid(&success(units), "kling-v2");
    }
    let failed = |charged| {
        Outcome::Failed(Failure {
            reason: Reason::ResultExpired,
            message: String::new(),
            provider_code: None,
            charged,
            task_id: None,
            units: Some("2".to_owned()),
            faults: Vec::new(),
        })
    };
    for charged in [Charged::No, Charged::Yes, Charged::Unknown, Charged::Yes] {
        metrics.paid(&failed(charged), "other");
    }
    let text = metrics.encode();
    for line in [
        "comet_units_total{model=\"kling-v2\"} 4.5",
        "comet_units_total{model=\"other\"} 8.0",
        "comet_paid_in_vain_total{charged=\"yes\"} 2",
        "comet_paid_in_vain_total{charged=\"unknown\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn one_worker_shows_the_backlog_and_the_others_have_no_such_series() {
    let metrics = Metrics::new();
    let series = |metrics: &Metrics| {
        let text = metrics.encode();
        let lines = text.lines().filter(|line| {
            line.starts_with("comet_backlog_jobs{") || line.starts_with("comet_queue_messages{")
        });
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(series(&metrics), Vec::<String>::new());
    let queues = Queues { jobs: Some(120), dead: Some(2), unrouted: None };
    metrics.backlog(Some((&queues, 8)));
    let shown = [
        "comet_backlog_jobs{} 128",
        "comet_queue_messages{queue=\"dead\"} 2",
        "comet_queue_messages{queue=\"jobs\"} 120",
    ];
    assert_eq!(series(&metrics), shown);
    metrics.backlog(Some((&Queues::default(), 8)));
    assert_eq!(series(&metrics), Vec::<String>::new(), "an unknown number is none");
    metrics.backlog(Some((&queues, 8)));
    metrics.backlog(None);
    assert_eq!(series(&metrics), Vec::<String>::new());
}
