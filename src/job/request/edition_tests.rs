//! Both editions of the provider's contract, and what a configuration changes.

use serde_json::{Value, json};

use super::tests::{only_fault, paths, posted, sent, under};
use super::*;
use crate::job::route::Routes;

fn of(route: Route) -> Rules {
    Rules::of(Routes::new(route, ""))
}

fn subjects(count: usize) -> Value {
    Value::Array(vec![json!({"subject_image": "https://example.com/a.png"}); count])
}

fn with(rules: &Rules, changes: &Value) -> Request {
    let mut input = json!({"subject_image_list": subjects(2)});
    for (name, value) in changes.as_object().unwrap() {
        input[name] = value.clone();
    }
    under(rules, &input)
}

#[test]
fn a_job_of_the_current_edition_becomes_exactly_the_body_that_is_posted() {
    let job = include_bytes!("../../../tests/fixtures/jobs/current.json");
    let body = include_str!("../../../tests/fixtures/jobs/current.body.json");
    let request = parse(job, &Properties::default(), &Rules::current()).unwrap();
    assert_eq!(posted(&request.submission.unwrap()), body.trim_end());
    let request = parse(job, &Properties::default(), &Rules::page()).unwrap();
    assert_eq!(paths(&request), ["/input/subject_image_list"], "all that the page doesn't take");
}

#[test]
fn each_edition_has_its_number_of_subject_images_and_the_configuration_another() {
    let fewer = of(Route { subject_images: 3..=3, ..Route::page() });
    for (rules, taken, words) in [
        (Rules::page(), vec![2, 3, 4], "2 to 4 objects"),
        (Rules::current(), vec![1, 2, 3, 4], "1 to 4 objects"),
        (fewer, vec![3], "an array of 3 objects"),
    ] {
        let count = |count: usize| under(&rules, &json!({"subject_image_list": subjects(count)}));
        assert_eq!((0..6).filter(|&number| count(number).submission.is_ok()).collect::<Vec<_>>(), taken);
        assert!(only_fault(&count(0)).message.contains(words), "{:?}", only_fault(&count(0)));
    }
}

#[test]
fn each_edition_has_its_models_and_sends_its_own_where_a_job_names_none() {
    for (rules, default, taken) in [
        (Rules::page(), "kling-v2", vec!["kling-v2"]),
        (Rules::current(), "kling-v2-1", vec!["kling-v2", "kling-v2-1"]),
        (of(Route::page().with_default_model("kling-v3")), "kling-v3", vec!["kling-v2", "kling-v3"]),
        (of(Route::current().with_default_model("kling-v2")), "kling-v2", vec!["kling-v2", "kling-v2-1"]),
    ] {
        assert_eq!(sent(with(&rules, &json!({})))["model_name"], default);
        let model = |name: &&str| with(&rules, &json!({"model_name": name})).submission.is_ok();
        let all = ["kling-v2", "kling-v2-1", "kling-v3", "kling-v1"];
        assert_eq!(all.into_iter().filter(model).collect::<Vec<_>>(), taken);
    }
}

#[test]
fn the_scene_goes_out_under_the_configured_names_whichever_it_came_in_by() {
    let scene = "https://example.com/scene.png";
    for names in [&["scence_image", "scene_image"][..], &["scence_image"], &["scene_image"]] {
        let names: &'static [&'static str] = names;
        let rules = of(Route { scene_names_sent: names, ..Route::current() });
        for given in ["scence_image", "scene_image"] {
            let body = sent(with(&rules, &json!({given: scene})));
            for name in ["scence_image", "scene_image"] {
                let expected = names.contains(&name).then(|| json!(scene));
                assert_eq!(body.get(name), expected.as_ref(), "{name}, of {names:?}");
            }
        }
        let both = json!({"scence_image": scene, "scene_image": "https://example.com/other.png"});
        assert!(only_fault(&with(&rules, &both)).message.contains("both spellings are one field"));
    }
}

#[test]
fn a_field_that_only_one_edition_has_is_checked_and_passed_on_by_both() {
    for rules in [Rules::page(), Rules::current()] {
        for (name, value) in [
            ("negative_prompt", json!("ü".repeat(2500))),
            ("watermark_info", json!({"enabled": true, "more": 1})),
            ("watermark_info", json!({})),
            ("resolution", json!("")),
        ] {
            assert_eq!(sent(with(&rules, &json!({name: value})))[name], value);
        }
        for nothing in [json!(""), json!(null)] {
            let body = sent(with(&rules, &json!({"watermark_info": nothing, "negative_prompt": nothing})));
            assert!(body.get("watermark_info").or(body.get("negative_prompt")).is_none());
        }
        for (name, value, place) in [
            ("negative_prompt", json!("ü".repeat(2501)), "/input/negative_prompt"),
            ("watermark_info", json!(true), "/input/watermark_info"),
            ("watermark_info", json!({"enabled": "no"}), "/input/watermark_info/enabled"),
        ] {
            assert_eq!(only_fault(&with(&rules, &json!({name: value}))).path, place);
        }
    }
}
