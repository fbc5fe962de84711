//! The fields of `input`, one by one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::tests::{DESIGN, only_fault, paths, read, sent, with_input};
use super::{Properties, Rules, parse};
use crate::job::callback::Callbacks;

fn png(width: u32, height: u32) -> String {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; (width * height) as usize]).unwrap();
    writer.finish().unwrap();
    STANDARD.encode(bytes)
}

fn jpeg(width: u16, height: u16) -> String {
    let mut bytes = Vec::new();
    let pixels = vec![0; usize::from(width) * usize::from(height)];
    jpeg_encoder::Encoder::new(&mut bytes, 50)
        .encode(&pixels, width, height, jpeg_encoder::ColorType::Luma)
        .unwrap();
    STANDARD.encode(bytes)
}

#[test]
fn prompts_are_counted_in_characters() {
    for name in ["prompt", "negative_prompt"] {
        assert!(with_input(&json!({name: "ü".repeat(2500)})).submission.is_ok());
        let request = with_input(&json!({name: "ü".repeat(2501)}));
        assert_eq!(only_fault(&request).path, format!("/input/{name}"));
        assert!(only_fault(&request).message.ends_with("found 2501"));
    }
}

#[test]
fn both_spellings_of_the_scene_are_one_field() {
    let image = png(300, 300);
    let url = "https://example.com/s.png";
    for changes in [
        json!({"scene_image": url}),
        json!({"scence_image": url}),
        json!({"scene_image": url, "scence_image": ""}),
        json!({"scene_image": null, "scence_image": url}),
        json!({"scene_image": url, "scence_image": url}),
    ] {
        let body = sent(with_input(&changes));
        assert_eq!((&body["scene_image"], &body["scence_image"]), (&json!(url), &json!(url)));
    }
    // The same image, once with a prefix.
    let prefixed = format!("data:image/png;base64,{image}");
    let body = sent(with_input(&json!({"scene_image": prefixed, "scence_image": image})));
    assert_eq!((&body["scene_image"], &body["scence_image"]), (&json!(image), &json!(image)));
    // Wrong under both names: one fault.
    only_fault(&with_input(&json!({"scene_image": "!", "scence_image": "!"})));
    assert!(sent(with_input(&json!({"scene_image": ""}))).get("scene_image").is_none());
}

#[test]
fn an_image_in_base64_is_looked_into() {
    let style = |text: &str| with_input(&json!({"style_image": text}));
    let good = png(300, 750);
    for text in [good.clone(), jpeg(750, 300), format!("DATA:image/PNG;base64,{good}")] {
        let expected = text.rsplit_once(',').map_or(text.as_str(), |(_, image)| image);
        assert_eq!(sent(style(&text))["style_image"], expected);
    }
    for (text, words) in [
        (png(299, 300), "at least 300 pixels, found 299x300"),
        (png(300, 751), "1:2.5 to 2.5:1, found 300x751"),
        (jpeg(751, 300), "found 751x300"),
        (STANDARD.encode(b"GIF89a\0\0\0\0\0\0"), "found image/gif"),
        (STANDARD.encode("hello"), "found something else"),
        (STANDARD.encode(b"\x89PNG\r\n\x1a\n"), "without its dimensions"),
        (STANDARD.encode(b"\xff\xd8\xff\xe0\xff\xff"), "without its dimensions"),
        (good[..good.len() - 3].to_owned(), "padded"),
        (format!("{}\n{}", &good[..76], &good[76..]), "'\\n' at byte 76"),
        (good.replace(['A', '/'], "-"), "'-' at byte"),
        (format!("{}ü", &good[..8]), "'ü' at byte 8"),
        ("data:image/png;base64,".to_owned(), "found nothing"),
        (format!("data:image/png,{good}"), "another kind of data: URL"),
        ("data:text/html;base64,AAAA".to_owned(), "another kind of data: URL"),
        ("file:a.png".to_owned(), "read by `comet-worker submit`, never by a worker"),
        ("FILE:///etc/passwd".to_owned(), "never by a worker"),
        ("@a.png".to_owned(), "'@' at byte 0 is none of its characters"),
    ] {
        let request = style(&text);
        assert!(only_fault(&request).message.contains(words), "{:?}", only_fault(&request));
    }
    // Too small and too long at the same time: two faults.
    assert_eq!(paths(&style(&png(100, 1000))), ["/input/style_image", "/input/style_image"]);
}

#[test]
fn an_image_over_10_mib_is_refused_before_it_is_decoded() {
    let image = "A".repeat(14 * 1024 * 1024);
    let request = with_input(&json!({"style_image": image}));
    let message = &only_fault(&request).message;
    assert_eq!(message, "expected an image of at most 10485760 bytes, found about 11010046");
}

#[test]
fn a_url_means_the_same_to_every_reader() {
    let style = |text: &str| with_input(&json!({"style_image": text}));
    for good in [
        "http://a",
        "https://example.com:8443/a%20b.png?x=1&y=%2F#f",
        "HTTPS://[2001:db8::1]/a",
        "https://例え.example/ü",
    ] {
        assert_eq!(sent(style(good))["style_image"], good);
    }
    for bad in [
        "https://",
        "https:///a.png",
        "https://?a",
        "https://exa mple.com",
        "https://example.com/a\n",
        "https://example.com\\a",
        "https://example.com:port/",
        "https://user@example.com/",
        "https://:secret@example.com/",
        "https:example.com/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "//example.com/a.png",
        "example.com/a.png",
        &format!("https://example.com/{}", "a".repeat(8192)),
    ] {
        only_fault(&style(bad));
        if bad.contains("://") {
            only_fault(&with_input(&json!({"callback_url": bad})));
        }
    }
}

#[test]
fn an_optional_field_without_a_value_is_as_good_as_absent() {
    for nothing in [json!(null), json!("")] {
        let request = with_input(&json!({
            "model_name": nothing, "prompt": nothing, "negative_prompt": nothing, "n": nothing,
            "scene_image": nothing, "scence_image": nothing, "style_image": nothing,
            "aspect_ratio": nothing, "callback_url": nothing, "external_task_id": nothing,
            "watermark_info": nothing,
        }));
        assert_eq!(request.job.slots, 1);
        let (mut one, mut other) = (sent(request), sent(with_input(&json!({}))));
        // It is another input nevertheless, so it has another id.
        assert_ne!(one["external_task_id"], other["external_task_id"]);
        for body in [&mut one, &mut other] {
            body["external_task_id"] = json!(null);
        }
        assert_eq!(one, other);
    }
    assert!(read(br#"{"job_id":"j","timeout_s":null}"#).unwrap().job.timeout_s.is_none());
}

/// The rules with `callback.public_url` configured.
fn calling_back() -> Rules {
    let url = "https://hooks.example.com".parse().unwrap();
    let callbacks = Callbacks::new(&url, &"a secret".to_owned().into(), "comet");
    Rules { callbacks: Some(callbacks), ..Rules::page() }
}

#[test]
fn a_job_is_called_back_about_where_the_fleet_listens_and_stays_the_same_job() {
    let here = parse(DESIGN, &Properties::default(), &calling_back()).unwrap();
    let nowhere = read(DESIGN).unwrap();
    assert_eq!(here.job.digest, nowhere.job.digest, "the user's input is what makes a job the same");
    let (here, nowhere) = (sent(here), sent(nowhere));
    let url = here["callback_url"].as_str().unwrap();
    let token = url.strip_prefix("https://hooks.example.com/").unwrap();
    assert_eq!(calling_back().callbacks.unwrap().job(token).unwrap().as_str(), "order-8812");
    assert_eq!(nowhere.get("callback_url"), None);
    let without = |mut body: Value| {
        body.as_object_mut().unwrap().remove("callback_url");
        body
    };
    assert_eq!(without(here), nowhere);
}

#[test]
fn a_job_keeps_a_callback_url_of_its_own() {
    for (own, sent_url) in
        [(json!("https://mine.example/hook"), Some("https://mine.example/hook")), (json!(""), None)]
    {
        let mut job: Value = serde_json::from_slice(DESIGN).unwrap();
        job["input"]["callback_url"] = own;
        let request = parse(job.to_string().as_bytes(), &Properties::default(), &calling_back()).unwrap();
        let body = sent(request);
        match sent_url {
            Some(url) => assert_eq!(body["callback_url"], url),
            None => assert!(body["callback_url"].as_str().unwrap().starts_with("https://hooks.example.com/")),
        }
    }
}
