//! The rules, sentence by sentence of the two pages.

use serde_json::json;

use super::*;

const PAGE: Rules = Rules { page: Page::Page, check_pixels: false };
const CURRENT: Rules = Rules { page: Page::Current, check_pixels: false };

fn images(count: usize) -> Value {
    Value::Array(vec![json!({"subject_image": "https://example.com/a.png"}); count])
}

/// A valid request, with one field set to `value`.
fn with(name: &str, value: Value) -> Value {
    let mut body = json!({"model_name": "kling-v2", "prompt": "a kitchen", "subject_image_list": images(2)});
    body[name] = value;
    body
}

fn read(rules: Rules, body: &Value) -> Result<GenerationRequest, Refusal> {
    rules.read(Family::Images, body.to_string().as_bytes())
}

fn accepts(rules: Rules, name: &str, value: Value) -> bool {
    match read(rules, &with(name, value)) {
        Ok(_) => true,
        Err(Refusal::Invalid(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn the_smallest_request_is_the_images_alone() {
    let request = read(PAGE, &json!({"subject_image_list": images(2)})).unwrap();
    assert_eq!((request.n, request.aspect_ratio), (1, AspectRatio::DEFAULT));
    assert_eq!(request.external_task_id, None);
    assert!(request.ignored.is_empty());
}

#[test]
fn the_page_wants_two_to_four_images_and_the_current_one_takes_one() {
    let accepted =
        |rules| (0..6).filter(|&n| accepts(rules, "subject_image_list", images(n))).collect::<Vec<_>>();
    assert_eq!(accepted(PAGE), [2, 3, 4]);
    assert_eq!(accepted(CURRENT), [1, 2, 3, 4]);
    for broken in [json!(null), json!("x"), json!([1, 2]), json!([{"image": "x"}, {"image": "x"}])] {
        assert!(!accepts(PAGE, "subject_image_list", broken.clone()), "{broken}");
    }
}

#[test]
fn each_page_has_its_models() {
    assert!(accepts(PAGE, "model_name", json!("kling-v2")));
    assert!(!accepts(PAGE, "model_name", json!("kling-v2-1")));
    assert!(accepts(CURRENT, "model_name", json!("kling-v2-1")));
    assert!(!accepts(CURRENT, "model_name", json!("kling-v9")));
    assert!(!accepts(PAGE, "model_name", json!(2)));
}

#[test]
fn the_prompt_is_counted_in_characters() {
    assert!(accepts(PAGE, "prompt", json!("ü".repeat(2500))));
    assert!(!accepts(PAGE, "prompt", json!("ü".repeat(2501))));
    assert!(!accepts(CURRENT, "negative_prompt", json!("x".repeat(2501))));
}

#[test]
fn n_goes_from_one_to_nine() {
    for n in 1..=9 {
        assert!(accepts(PAGE, "n", json!(n)), "{n}");
    }
    for n in [json!(0), json!(10), json!(-1), json!(1.5), json!("1")] {
        assert!(!accepts(PAGE, "n", n.clone()), "{n}");
    }
}

#[test]
fn only_the_eight_aspect_ratios_pass() {
    for ratio in ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"] {
        assert!(accepts(PAGE, "aspect_ratio", json!(ratio)), "{ratio}");
    }
    assert!(!accepts(PAGE, "aspect_ratio", json!("9:21")));
    assert!(!accepts(PAGE, "aspect_ratio", json!("")));
}

#[test]
fn an_image_is_a_url_or_bare_base64() {
    for image in ["https://example.com/a.png", "http://example.com/a.png", "iVBORw0KGgo="] {
        assert!(accepts(PAGE, "style_image", json!(image)), "{image}");
    }
    for image in
        ["", "data:image/png;base64,iVBORw0KGgo=", "not base64!", "ftp://example.com/a.png", "https://"]
    {
        assert!(!accepts(PAGE, "style_image", json!(image)), "{image}");
    }
    let large = STANDARD.encode(vec![0; IMAGE_BYTES_MAX + 1]);
    assert!(!accepts(PAGE, "style_image", json!(large)));
}

#[test]
fn pixels_are_looked_at_when_told() {
    let strict = Rules { check_pixels: true, ..PAGE };
    assert!(!accepts(strict, "style_image", json!("aGVsbG8=")));
    let pictures = crate::picture::Pictures::new(640);
    let png = pictures.draw(1, 0, AspectRatio::DEFAULT, crate::picture::Format::Png).unwrap();
    assert!(accepts(strict, "style_image", json!(STANDARD.encode(png))));
    let small = crate::picture::Pictures::new(200);
    let png = small.draw(1, 0, AspectRatio::DEFAULT, crate::picture::Format::Png).unwrap();
    assert!(!accepts(strict, "style_image", json!(STANDARD.encode(png))));
}

#[test]
fn external_ids_have_at_most_64_characters() {
    assert!(accepts(PAGE, "external_task_id", json!("x".repeat(64))));
    assert!(!accepts(PAGE, "external_task_id", json!("x".repeat(65))));
    assert!(!accepts(PAGE, "external_task_id", json!("")));
}

#[test]
fn fields_that_are_unknown_are_ignored_and_named() {
    let ignored = |rules, name| read(rules, &with(name, json!("https://example.com/a.png"))).unwrap().ignored;
    assert_eq!(ignored(PAGE, "scene_image"), ["scene_image"]);
    assert_eq!(ignored(CURRENT, "scence_image"), ["scence_image"]);
    assert!(ignored(PAGE, "scence_image").is_empty());
    assert_eq!(ignored(PAGE, "resolution"), ["resolution"]);
}

#[test]
fn the_digest_tells_jobs_apart() {
    let digest = |body: &Value| read(PAGE, body).unwrap().digest;
    let one = with("prompt", json!("one"));
    assert_eq!(digest(&one), digest(&one));
    assert_ne!(digest(&one), digest(&with("prompt", json!("two"))));
}

#[test]
fn a_body_that_is_no_json_object_is_refused_as_such() {
    for body in ["", "{", "[]", "\"x\""] {
        let refusal = PAGE.read(Family::Images, body.as_bytes()).unwrap_err();
        assert!(matches!(refusal, Refusal::NotJson(_)), "{body}: {refusal:?}");
    }
}

fn read_at(family: Family, body: &Value) -> Result<GenerationRequest, Refusal> {
    PAGE.read(family, body.to_string().as_bytes())
}

#[test]
fn a_body_with_a_prompt_and_no_subjects_is_a_generation_at_the_path_that_both_have() {
    let taken =
        read_at(Family::Images, &json!({"prompt": "x", "n": 3, "resolution": "2k", "seed": 1})).unwrap();
    assert_eq!((taken.n, taken.ignored), (3, vec!["seed".to_owned()]));
    for wrong in [
        json!({"prompt": ""}),
        json!({"prompt": "x", "resolution": "8k"}),
        json!({"prompt": "x", "image": "data:image/png;base64,AAAA"}),
        json!({"prompt": "x", "image": "https://example.com/a.png", "negative_prompt": "y"}),
        json!({"prompt": "x", "image_fidelity": 2}),
        json!({"n": 1}),
    ] {
        assert!(matches!(read_at(Family::Images, &wrong), Err(Refusal::Invalid(_))), "{wrong}");
    }
}

#[test]
fn a_series_has_its_amount_and_nothing_else_has() {
    let n = |changes: Value| {
        let mut body = json!({"prompt": "x", "n": 2});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read_at(Family::Omni, &body).map(|taken| (taken.n, taken.is_series)).ok()
    };
    assert_eq!(n(json!({"series_amount": 5})), Some((2, false)));
    assert_eq!(n(json!({"result_type": "series"})), Some((4, true)));
    assert_eq!(n(json!({"result_type": "series", "series_amount": 5})), Some((5, true)));
    assert_eq!(n(json!({"result_type": "series", "series_amount": "auto"})), Some((3, true)));
    assert_eq!(n(json!({"result_type": "series", "series_amount": 1})), None);
    let images = vec![json!({"image": "https://example.com/a.png"}); 11];
    assert_eq!(n(json!({"image_list": images})), None);
    assert_eq!(n(json!({"image_list": [{"image_url": "https://example.com/a.png"}]})), None);
}

#[test]
fn a_fitting_needs_a_person_and_clothes() {
    let image = "https://example.com/a.png";
    let taken = read_at(Family::TryOn, &json!({"human_image": image, "cloth_image": image})).unwrap();
    assert_eq!((taken.n, taken.family), (1, Family::TryOn));
    assert!(read_at(Family::TryOn, &json!({"human_image": image})).is_err());
}
