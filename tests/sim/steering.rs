//! The paths under `/sim/`, where a test reads the report and changes a running stand-in. They need no key.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{duration::Distribution, http::Sim, switches::parse_faults};

pub(crate) fn router() -> Router<Arc<Sim>> {
    Router::new()
        .route("/sim/report", get(report))
        .route("/sim/faults", put(set_faults))
        .route("/sim/balance", put(set_balance))
        .route("/sim/durations", put(set_durations))
        .route("/sim/reset", post(reset))
}

#[derive(Debug, Deserialize)]
struct ReportQuery {
    #[serde(default)]
    summary: String,
}

async fn report(State(sim): State<Arc<Sim>>, Query(query): Query<ReportQuery>) -> Response {
    let with_tasks = matches!(query.summary.as_str(), "" | "0" | "false");
    let report = sim.model().report(with_tasks, sim.clock.now_ms());
    let connections = &sim.connections;
    Json(report.with_connections(connections.open(), connections.open_max())).into_response()
}

async fn set_faults(State(sim): State<Arc<Sim>>, body: Bytes) -> Result<Json<Value>, Wrong> {
    let map: Map<String, Value> = read(&body)?;
    let faults = parse_faults(&map).map_err(Wrong)?;
    sim.model().faults.set(&faults);
    Ok(Json(json!({"faults": map})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Balance {
    /// It is required, so that a misspelt field doesn't give an account unlimited money.
    #[serde(deserialize_with = "Option::deserialize")]
    balance: Option<u64>,
}

async fn set_balance(State(sim): State<Arc<Sim>>, body: Bytes) -> Result<Json<Value>, Wrong> {
    let Balance { balance } = read(&body)?;
    for account in &mut sim.model().accounts {
        account.balance = balance;
    }
    Ok(Json(json!({"balance": balance})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Durations {
    distribution: String,
}

async fn set_durations(State(sim): State<Arc<Sim>>, body: Bytes) -> Result<Json<Value>, Wrong> {
    let Durations { distribution } = read(&body)?;
    let durations: Distribution = distribution.parse().map_err(Wrong)?;
    sim.model().durations = durations;
    Ok(Json(json!({"distribution": durations.to_string()})))
}

async fn reset(State(sim): State<Arc<Sim>>) -> Response {
    sim.model().reset();
    Json(json!({"reset": true})).into_response()
}

/// Whatever the content type says, so that a bare `curl -d` works.
fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Wrong> {
    serde_json::from_slice(body).map_err(|e| Wrong(e.to_string()))
}

/// A request to `/sim/` that makes no sense, in words.
struct Wrong(String);

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0}))).into_response()
    }
}
