use super::*;
use crate::job::TaskId;

const DEFAULT: &str = "kling-v2";
const OWN: &str = "kling-v9";

fn models() -> Models {
    Models::default()
}

fn post(model: &str, job: u32) -> Submission {
    Submission::sample(&job.to_string(), model)
}

fn accepted() -> SubmitOutcome {
    SubmitOutcome::Accepted(TaskId::new("7").unwrap())
}

fn no_channel() -> SubmitOutcome {
    let provider_code = Some("model_not_found".to_owned());
    SubmitOutcome::Later(Later {
        message: "HTTP 503: no".to_owned(),
        provider_code,
        after: None,
        this_job_only: true,
    })
}

fn gone() -> SubmitOutcome {
    let provider_code = Some("1201".to_owned());
    let message = "HTTP 400: discontinued".to_owned();
    SubmitOutcome::Refused(Refusal { content_policy: false, no_model: true, message, provider_code })
}

fn wait(answer: SubmitOutcome) -> Duration {
    let SubmitOutcome::Later(Later { after: Some(after), this_job_only: true, .. }) = answer else {
        panic!("{answer:?}")
    };
    after
}

fn fault(answer: SubmitOutcome) -> (AccountFaultKind, String) {
    let SubmitOutcome::Account(fault) = answer else { panic!("{answer:?}") };
    (fault.kind, fault.message)
}

fn refusal(answer: SubmitOutcome) -> Refusal {
    let SubmitOutcome::Refused(refusal) = answer else { panic!("{answer:?}") };
    refusal
}

#[tokio::test(start_paused = true)]
async fn a_job_without_a_channel_waits_longer_each_time_and_by_itself() {
    let models = models();
    let mut before = Duration::ZERO;
    for model in [DEFAULT, DEFAULT, DEFAULT, DEFAULT] {
        let now = wait(models.judge(&post(model, 1), no_channel()));
        assert!(now > before && now <= LONGEST_WAIT, "{now:?} after {before:?}");
        assert_eq!(models.judge(&post(model, 2), accepted()), accepted());
        before = now;
    }
    assert!(wait(models.judge(&post(DEFAULT, 3), no_channel())) <= FIRST_WAIT, "each has its own count");
    let asked = Later { after: Some(Duration::from_secs(600)), ..later(no_channel()) };
    assert_eq!(wait(models.judge(&post(DEFAULT, 4), SubmitOutcome::Later(asked))), Duration::from_secs(600));
}

fn later(answer: SubmitOutcome) -> Later {
    let SubmitOutcome::Later(later) = answer else { panic!("{answer:?}") };
    later
}

#[tokio::test(start_paused = true)]
async fn posts_that_no_channel_takes_in_a_row_are_the_providers_outage() {
    let models = models();
    wait(models.judge(&post(DEFAULT, 1), no_channel()));
    wait(models.judge(&post(DEFAULT, 2), no_channel()));
    for job in 3..9 {
        let (kind, message) = fault(models.judge(&post(OWN, job), no_channel()));
        assert_eq!(kind, AccountFaultKind::Unreachable);
        assert!(message.contains("kling-v9") && message.contains("api.model"), "{message}");
    }
    models.judge(&post(DEFAULT, 3), accepted());
    wait(models.judge(&post(DEFAULT, 1), no_channel()));
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_own_model_stays_away_while_others_are_accepted_is_refused_in_the_providers_words() {
    let models = models();
    let started = Instant::now();
    let refused = loop {
        let answer = models.judge(&post(OWN, 1), no_channel());
        if let SubmitOutcome::Refused(refusal) = answer {
            break refusal;
        }
        tokio::time::sleep(wait(answer)).await;
        models.judge(&post(DEFAULT, 2), accepted());
    };
    assert!(started.elapsed() >= TRIES_FOR);
    assert_eq!(refused.provider_code.as_deref(), Some("model_not_found"));
    assert!(refused.message.contains("kling-v9: HTTP 503: no"), "{}", refused.message);
}

#[tokio::test(start_paused = true)]
async fn without_another_acceptance_no_time_makes_a_jobs_fault_of_it() {
    let models = models();
    for _ in 0..50 {
        let answer = models.judge(&post(OWN, 1), no_channel());
        assert!(!matches!(answer, SubmitOutcome::Refused(_)), "{answer:?}");
        tokio::time::sleep(LONGEST_WAIT).await;
    }
    fault(models.judge(&post(OWN, 1), no_channel()));
    models.judge(&post(DEFAULT, 2), accepted());
    wait(models.judge(&post(OWN, 1), no_channel()));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_the_configured_model_is_never_refused_for_want_of_a_channel() {
    let models = models();
    for job in 0..50 {
        wait(models.judge(&post(DEFAULT, 1_000), no_channel()));
        models.judge(&post(OWN, job), accepted());
        tokio::time::sleep(LONGEST_WAIT).await;
    }
}

#[test]
fn a_model_of_the_jobs_own_that_is_gone_is_the_jobs_fault_and_named() {
    let refused = refusal(models().judge(&post(OWN, 1), gone()));
    assert_eq!(refused.message, "the model kling-v9 isn't there: HTTP 400: discontinued");
    assert_eq!(refused.provider_code.as_deref(), Some("1201"));
}

#[test]
fn a_configured_model_that_is_gone_stops_the_intake_and_ends_no_job() {
    let models = models();
    for job in [1, 1, 2, 3, 1] {
        let (kind, message) = fault(models.judge(&post(DEFAULT, job), gone()));
        assert_eq!(kind, AccountFaultKind::Configuration);
        assert!(
            message.contains("the model kling-v2 isn't there") && message.contains("api.model"),
            "{message}"
        );
        models.judge(&post(OWN, job), accepted());
    }
}

#[test]
fn a_configured_model_that_others_get_is_not_gone_but_denied_to_that_job() {
    let models = models();
    fault(models.judge(&post(DEFAULT, 1), gone()));
    models.judge(&post(DEFAULT, 2), accepted());
    assert!(refusal(models.judge(&post(DEFAULT, 1), gone())).message.contains("kling-v2"));
}

#[tokio::test(start_paused = true)]
async fn so_many_jobs_are_remembered_and_no_more() {
    let models = models();
    for job in 0..3_000 {
        models.judge(&post(DEFAULT, job), no_channel());
        assert!(models.0.lock().unwrap().jobs.len() <= JOBS_MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_had_no_channel_before_is_not_blamed_for_a_default_model_that_is_gone() {
    let models = models();
    wait(models.judge(&post(DEFAULT, 1), no_channel()));
    assert_eq!(models.judge(&post(DEFAULT, 2), accepted()), accepted());
    let (kind, _) = fault(models.judge(&post(DEFAULT, 1), gone()));
    assert_eq!(kind, AccountFaultKind::Configuration);
    assert_eq!(models.judge(&post(DEFAULT, 2), accepted()), accepted());
    assert!(
        refusal(models.judge(&post(DEFAULT, 1), gone())).no_model,
        "told so twice, with another accepted between"
    );
}
