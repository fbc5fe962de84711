//! The other shapes of the same replies. A client can't choose which gateway version answers.
//!
//! Each function takes the transparent Kling reply of `shape.rs` and turns it into its own shape.

use serde_json::{Value, json};

use crate::{
    faults::Fault,
    task::{Status, TaskView},
};

type Dress = fn(Value, &TaskView) -> Value;

/// The reply to an accepted POST.
pub(crate) static SUBMITS: &[(Fault, Dress)] = &[
    (Fault::ReplyA2, |reply, _| without_request_id(with(reply, "/data", "task_info", no_external_id()))),
    (Fault::ReplyA3, |reply, _| {
        let reply = with(reply, "/data", "task_info", no_external_id());
        let reply = with(reply, "/data", "task_result", Value::Null);
        without_request_id(with(reply, "/data", "task_status_msg", Value::Null))
    }),
    (Fault::ReplyBText, |_, task| wrapper(json!(task.task_id.to_string()))),
    (Fault::ReplyBObject, |_, task| wrapper(json!({"task_id": task.task_id.to_string()}))),
    (Fault::ReplyC, |_, task| {
        let id = task.task_id.to_string();
        json!({"id": id, "task_id": id, "object": "video", "model": "kling-v2", "status": "", "progress": 0,
            "created_at": task.created_ms / 1000})
    }),
    (Fault::ReplyNumberId, |reply, task| with(reply, "/data", "task_id", json!(task.task_id))),
];

/// The reply to a query, drawn when the task is made.
pub(crate) static LOOKS: &[(Fault, Dress)] = &[
    (Fault::LookWrapper, |reply, task| outer(task, outer_word(task), "", inner(&reply))),
    (Fault::LookWrapperEnvelope, |reply, task| outer(task, outer_word(task), "", reply)),
    (Fault::LookUrlInFailReason, |reply, task| {
        outer(task, outer_word(task), first_url(&reply).as_str().unwrap_or_default(), inner(&reply))
    }),
    (Fault::LookSwept, |reply, task| {
        let stale = with(inner(&reply), "", "task_status", json!("processing"));
        match task.status {
            Status::Succeed | Status::Failed(_) => {
                let stale = with(stale, "", "task_result", json!({}));
                outer(task, "FAILURE", "timeout", stale)
            }
            Status::Submitted | Status::Processing => outer(task, "IN_PROGRESS", "", stale),
        }
    }),
    (Fault::LookFlat, |reply, task| {
        if !is_of_one_kind(&reply) {
            return reply;
        }
        let url = first_url(&reply);
        let id = task.task_id.to_string();
        wrapper(json!({"error": null, "format": "png", "metadata": null, "status": task.status.name(),
            "task_id": id, "url": url}))
    }),
    (Fault::LookCompleted, |reply, task| {
        if !is_of_one_kind(&reply) {
            return reply;
        }
        let url = first_url(&reply);
        let (status, progress) = match task.status {
            Status::Submitted => ("queued", 0),
            Status::Processing => ("in_progress", 50),
            Status::Succeed => ("completed", 100),
            Status::Failed(_) => ("failed", 100),
        };
        json!({"id": task.task_id.to_string(), "object": "video", "status": status, "progress": progress,
            "video_url": url})
    }),
    (Fault::LookFewer, |reply, _| {
        let mut images = images(&reply);
        images.pop();
        with_images(reply, images)
    }),
    (Fault::LookSeconds, |reply, task| {
        let reply = with(reply, "/data", "created_at", json!(task.created_ms / 1000));
        with(reply, "/data", "updated_at", json!(task.updated_ms / 1000))
    }),
    (Fault::LookNoIndex, |reply, _| {
        each_image(reply, |mut image, _| {
            image.as_object_mut().map(|image| image.remove("index"));
            image
        })
    }),
    (Fault::LookTextIndex, |reply, _| {
        each_image(reply, |image, place| with(image, "", "index", json!(place.to_string())))
    }),
    (Fault::LookOutOfOrder, |reply, _| {
        let mut images = images(&reply);
        images.reverse();
        with_images(reply, images)
    }),
    (Fault::LookDuplicates, |reply, _| {
        let images = images(&reply);
        with_images(reply, images.iter().chain(&images).cloned().collect())
    }),
    (Fault::LookSucceeded, |reply, task| match task.status {
        Status::Succeed => with(reply, "/data", "task_status", json!("succeeded")),
        Status::Submitted | Status::Processing | Status::Failed(_) => reply,
    }),
    (Fault::LookUppercase, |reply, task| {
        with(reply, "/data", "task_status", json!(task.status.name().to_uppercase()))
    }),
    (Fault::LookEmptyStatus, |reply, task| unclear(reply, task, "")),
    (Fault::LookUnknownStatus, |reply, task| unclear(reply, task, "reticulating")),
    (
        Fault::LookFilledLate,
        |reply, task| if task.looks <= 2 { with_images(reply, Vec::new()) } else { reply },
    ),
    (Fault::LookOutputs, |reply, task| newer(&reply, task)),
    (Fault::LookForeignShape, |reply, task| {
        let pictures: Vec<_> = images(&reply).iter().map(|image| json!({"href": image["url"]})).collect();
        let reply = with(reply, "/data", "task_result", Value::Null);
        match task.status {
            Status::Succeed => with(reply, "/data", "artifacts", json!({"pictures": pictures})),
            Status::Submitted | Status::Processing | Status::Failed(_) => reply,
        }
    }),
    (Fault::LookNullResult, |reply, _| with(reply, "/data", "task_result", Value::Null)),
    (Fault::LookRegress, |reply, task| match (task.status, task.looks) {
        (Status::Succeed, 1) => with_images(reply, Vec::new()),
        (Status::Succeed, 2) => {
            let reply = with(reply, "/data", "task_status", json!("processing"));
            with(reply, "/data", "task_result", json!({}))
        }
        _ => reply,
    }),
];

/// Puts a reply into the shape that a fault stands for.
pub(crate) fn dress(table: &[(Fault, Dress)], fault: Option<Fault>, reply: Value, task: &TaskView) -> Value {
    match table.iter().find(|(named, _)| Some(*named) == fault) {
        Some((_, dress)) => dress(reply, task),
        None => reply,
    }
}

fn with(mut value: Value, place: &str, name: &str, new: Value) -> Value {
    if let Some(fields) = value.pointer_mut(place).and_then(Value::as_object_mut) {
        fields.insert(name.to_owned(), new);
    }
    value
}

fn without_request_id(mut reply: Value) -> Value {
    reply.as_object_mut().map(|fields| fields.remove("request_id"));
    reply
}

fn no_external_id() -> Value {
    json!({"external_task_id": null})
}

fn wrapper(data: Value) -> Value {
    json!({"code": "success", "message": "", "data": data})
}

fn outer(task: &TaskView, status: &str, fail_reason: &str, data: Value) -> Value {
    wrapper(json!({"task_id": task.task_id.to_string(), "action": "IMAGE_GENERATIONS", "status": status,
        "fail_reason": fail_reason, "submit_time": task.created_ms / 1000, "start_time": 0,
        "finish_time": 0, "progress": "", "data": data}))
}

fn outer_word(task: &TaskView) -> &'static str {
    match task.status {
        Status::Submitted => "QUEUED",
        Status::Processing => "IN_PROGRESS",
        Status::Succeed => "SUCCESS",
        Status::Failed(_) => "FAILURE",
    }
}

fn inner(reply: &Value) -> Value {
    reply.get("data").cloned().unwrap_or_default()
}

/// Kling's newer form (docs/provider.md, "Other shapes").
fn newer(reply: &Value, task: &TaskView) -> Value {
    let (status, message) = match task.status {
        Status::Succeed => ("succeeded", None),
        Status::Failed(message) => ("failed", message),
        Status::Submitted | Status::Processing => (task.status.name(), None),
    };
    let list = |name: &str| {
        let list = reply.pointer("/data/task_result").and_then(|result| result.get(name));
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    // The members of a file, by their newer names.
    let named = |kind: &str, file: &Value, names: &[(&str, &str)]| {
        let members =
            names.iter().filter_map(|(new, old)| Some(((*new).to_owned(), file.get(*old)?.clone())));
        let mut output: serde_json::Map<String, Value> = members.collect();
        output.insert("type".to_owned(), json!(kind));
        Value::Object(output)
    };
    let image = |image: Value| with(named("image", &image, &[("url", "url")]), "", "group_id", json!("1"));
    let video =
        |video: Value| named("video", &video, &[("id", "id"), ("url", "url"), ("duration", "duration")]);
    let sound = |sound: Value| {
        named("audio", &sound, &[("id", "id"), ("mp3_url", "url_mp3"), ("wav_url", "url_wav")])
    };
    let images = list("images").into_iter().map(image);
    let media = list("videos").into_iter().map(video).chain(list("audios").into_iter().map(sound));
    let outputs: Vec<_> = images.chain(media).collect();
    json!({"code": 0, "message": "SUCCEED", "request_id": reply["request_id"], "data": {
        "id": task.task_id.to_string(), "status": status, "message": message, "external_id": task.external_task_id.as_deref(),
        "create_time": task.created_ms, "update_time": task.updated_ms, "outputs": outputs,
        "billing": [{"charge_type": "unit", "amount": task.units.to_string()}]}})
}

/// The member that lists what was made; `None` if there is none, or there are two, whose shapes are left alone.
fn member(reply: &Value) -> Option<&'static str> {
    let result = reply.pointer("/data/task_result")?;
    let mut lists = ["images", "videos", "audios"].into_iter().filter(|name| result[name].is_array());
    lists.next().filter(|_| lists.next().is_none())
}

/// The images, or the video, or the sound.
fn images(reply: &Value) -> Vec<Value> {
    let list = member(reply).and_then(|name| reply.pointer("/data/task_result")?.get(name)?.as_array());
    list.cloned().unwrap_or_default()
}

/// The URL of the first one.
fn first_url(reply: &Value) -> Value {
    let images = images(reply);
    let first = images.first();
    let url = |name: &str| first.map(|image| image[name].clone()).filter(Value::is_string);
    url("url").or_else(|| url("url_mp3")).unwrap_or_default()
}

/// Whether a shape that has one URL can tell of the task.
fn is_of_one_kind(reply: &Value) -> bool {
    reply.pointer("/data/task_result/videos").is_none() || member(reply).is_some()
}

/// A task without images keeps its result as it is.
fn with_images(reply: Value, images: Vec<Value>) -> Value {
    match member(&reply) {
        Some(name) => with(reply, "/data/task_result", name, Value::Array(images)),
        None => reply,
    }
}

fn each_image(reply: Value, change: impl Fn(Value, usize) -> Value) -> Value {
    let images = images(&reply).into_iter().enumerate().map(|(place, image)| change(image, place)).collect();
    with_images(reply, images)
}

/// A word that says nothing, for as long as the task runs.
fn unclear(reply: Value, task: &TaskView, word: &str) -> Value {
    match task.status {
        Status::Submitted | Status::Processing => with(reply, "/data", "task_status", json!(word)),
        Status::Succeed | Status::Failed(_) => reply,
    }
}

#[cfg(test)]
mod tests;
