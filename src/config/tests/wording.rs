//! Each kind of fault, as a user reads it.

use super::*;

#[test]
fn all_faults_are_reported_at_once_with_their_places() {
    let file =
        "[amqp]\nquue = \"x\"\nqueue = \"\"\n\n[poll]\nmin_ms = \"soon\"\n\n[stroage]\nurl = \"memory:\"\n";
    let env = [
        ("COMET_WORKER__API__KEY", "no good"),
        ("COMET_WORKER__WORKER__MAX_IN_FLIGHT", "70000"),
        ("COMET_WORKER__WORKER__TIMEOUT_S", "5"),
        ("COMET_WORKER__WORKER", "5"),
    ];
    assert_eq!(
        refused(file, &env),
        "worker.toml:2: section amqp has no key \"quue\"; did you mean amqp.queue?\n\
         worker.toml:6: poll.min_ms must be a whole number, not \"soon\"\n\
         worker.toml:8: there is no section \"stroage\"; did you mean storage?\n\
         environment variable COMET_WORKER__WORKER: the name must be COMET_WORKER__<SECTION>__<KEY>\n\
         environment variable COMET_WORKER__WORKER__TIMEOUT_S: section worker has no key \"timeout_s\"; \
         did you mean COMET_WORKER__DOWNLOAD__TIMEOUT_S?\n\
         worker.toml:3: amqp.queue is \"\"; it must be 1 to 255 bytes long, on one line\n\
         environment variable COMET_WORKER__API__KEY: api.key must be printable ASCII without spaces\n\
         environment variable COMET_WORKER__WORKER__MAX_IN_FLIGHT: worker.max_in_flight is 70000; \
         it must be from 1 to 65535"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    for (file, fault) in [
        ("[amqp]\ndeclare = \"yes\"", "worker.toml:2: amqp.declare must be true or false, not \"yes\""),
        ("[amqp]\nqueue = 5", "worker.toml:2: amqp.queue must be text in quotes, not 5"),
        ("[poll]\nmin_ms = 1.5", "worker.toml:2: poll.min_ms must be a whole number, not 1.5"),
        ("[poll]\nmin_ms = [1]", "worker.toml:2: poll.min_ms must be a whole number, not a list or a table"),
        ("api.key = 5", "worker.toml:1: api.key must be text in quotes"),
        ("amqp = 5", "worker.toml:1: amqp is a section: write [amqp] on its own line"),
    ] {
        assert_eq!(refused(file, &[]), fault);
    }
    assert_eq!(
        refused("", &[("COMET_WORKER__LOG__FORMAT", "xml"), ("COMET_WORKER__AMQP__DECLARE", "")]),
        "environment variable COMET_WORKER__AMQP__DECLARE: amqp.declare must be true or false, not \"\"\n\
         environment variable COMET_WORKER__LOG__FORMAT: log.format is \"xml\"; it must be auto, text or json"
    );
}

#[test]
fn what_must_be_true_of_several_settings_is_checked_with_both_places() {
    assert_eq!(
        refused("[poll]\nmin_ms = 30000", &[]),
        "worker.toml:2: poll.min_ms = 30000 (worker.toml:2) must be at most poll.max_ms = 20000 (config/default.toml)"
    );
    assert_eq!(
        refused("[amqp]\nconsumer_timeout_s = 180", &[]),
        "worker.toml:2: api.submit_timeout_s = 60 (config/default.toml) + generation.gate_s = 5 \
         (config/default.toml) must be at most a third of amqp.consumer_timeout_s = 180 (worker.toml:2): a delivery \
         is handed back at half of that, and a POST under way then still runs to its end"
    );
    assert_eq!(
        refused("[amqp]\nqueue = \"comet.jobs.dead\"", &[]),
        "worker.toml:2: amqp.dead_queue = \"comet.jobs.dead\" (config/default.toml) and amqp.queue = \
         \"comet.jobs.dead\" (worker.toml:2) must be two queues; rename one"
    );
    assert_eq!(
        refused("[api]\nmax_subject_images = 1", &[]),
        "worker.toml:2: api.min_subject_images = 0 (config/default.toml) and api.max_subject_images = 1 (worker.toml:2) \
         with api.profile = \"page\" (config/default.toml) make 2 to 1 subject images; the first must be at most the second"
    );
    assert!(refused("[api]\nmax_connections = 32", &[]).contains(
        "must be more than api.max_submits_at_once = 32 (config/default.toml), whose POSTs never wait"
    ));
    assert!(
        refused("[amqp]\nconfirm_timeout_s = 19", &[])
            .contains("must be at least twice amqp.heartbeat_s = 10")
    );
    // A setting that is wrong by itself is not compared with others.
    assert_eq!(refused("[poll]\nmin_ms = 0\nmax_ms = 0", &[]).lines().count(), 2);
}

#[test]
fn what_this_version_does_not_have_is_refused_by_name() {
    let fault = refused("[generation]\non_unknown_submit = \"guess\"", &[]);
    assert!(fault.contains("must be \"park\" or \"trust_lookup\""), "{fault}");
    let fault = refused("[api]\nprofile = \"newest\"", &[]);
    assert!(fault.contains("must be \"page\" or \"current\""), "{fault}");
    let fault = refused("[api]\nscene_field = \"scene\"", &[]);
    assert!(fault.contains("must be \"scence_image\", \"scene_image\" or \"both\""), "{fault}");
}

#[test]
fn texts_that_can_not_work_are_refused() {
    for (key, bad) in [
        ("amqp.queue", "amq.gen-1"),
        ("amqp.url", ""),
        ("amqp.url", "amqp://h/a/b"),
        ("redis.url", "http://127.0.0.1"),
        ("redis.prefix", "a{b}"),
        ("api.base_url", "api.cometapi.com"),
        ("api.base_url", "https://key@api.cometapi.com"),
        ("api.submit_path", "kling"),
        ("api.query_path", "/kling/{id}"),
        ("api.query_path", "/kling"),
        ("api.model", "kling v2"),
        ("api.max_subject_images", "101"),
        ("storage.url", "./store"),
        ("storage.url", "file:"),
        ("storage.url", "s3://"),
        ("storage.url", "s3://key:secret@bucket"),
        ("storage.prefix", "/a"),
        ("storage.prefix", "a/../b"),
        ("storage.prefix", "a//b"),
        ("storage.prefix", "/"),
        ("storage.endpoint", "minio:9000"),
        ("events.source", ""),
        ("admin.listen", "9464"),
    ] {
        let variable = format!("COMET_WORKER__{}", key.to_uppercase().replacen('.', "__", 1));
        let fault = refused("", &[(&variable, bad)]);
        assert!(fault.starts_with(&format!("environment variable {variable}: {key}")), "{fault}");
        assert_eq!(fault.lines().count(), 1, "{fault}");
        assert!(!fault.contains("secret"), "{fault}");
    }
}

#[test]
fn a_file_that_can_not_be_read_is_one_fault_among_the_others() {
    let missing = Config::load(Some(Path::new("/nowhere/worker.toml")), []).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/worker.toml: the configuration file can't be read: No such file"));
    let fault = refused("[api]\nkey = hunter2", &[("COMET_WORKER__POLL__MIN_MS", "0")]);
    let mut lines = fault.lines();
    assert!(lines.next().unwrap().starts_with("worker.toml:2: this is not TOML: "), "{fault}");
    assert!(lines.next().unwrap().contains("poll.min_ms is 0; it must be from 1 to 3600000 milliseconds"));
    assert!(!fault.contains("hunter2"), "{fault}");
}

#[test]
fn a_variable_that_is_set_twice_is_refused() {
    let env = [("COMET_WORKER__POLL__MIN_MS", "5"), ("comet_worker__poll__min_ms", "6")];
    assert_eq!(
        refused("", &env),
        "environment variable comet_worker__poll__min_ms: poll.min_ms is also set by the environment variable \
         COMET_WORKER__POLL__MIN_MS; unset one of them"
    );
}

#[test]
fn callbacks_refuse_what_cant_work_and_warn_of_what_is_weak() {
    let fault = refused("[callback]\npublic_url = \"hooks.example.com\"\nlisten = \"8085\"", &[]);
    assert!(fault.contains("callback.public_url") && fault.contains("https://"), "{fault}");
    assert!(fault.contains("an address and a port such as 127.0.0.1:8085"), "{fault}");
    let fault = refused("[callback]\nsecret = \"hunter2\"", &[]);
    assert!(fault.contains("at least 32 bytes") && !fault.contains("hunter2"), "{fault}");

    let warnings = |toml| load(toml, &[]).unwrap().warnings();
    let before = warnings("").len();
    assert_eq!(warnings("[callback]\npublic_url = \"https://hooks.example.com\"").len(), before);
    let plain = warnings("[callback]\npublic_url = \"http://hooks.example.com\"");
    assert!(plain.iter().any(|warning| warning.contains("callback.public_url")), "{plain:?}");
    let unused = warnings("[callback]\nsecret = \"0123456789abcdef0123456789abcdef\"");
    assert!(unused.iter().any(|warning| warning.contains("callback.secret has no effect")), "{unused:?}");
}
