//! The operator's binary: arguments and wiring.

use std::process::ExitCode;

use clap::Parser;
use compliance_partner_operator::api;
use compliance_partner_operator::options::{Command, CommandLine, LogFormat, RunOptions};
use compliance_partner_operator::runtime::{admin, client, controller, log};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Crd => print_crds(),
        Command::Run(options) => run(&options),
    }
}

fn print_crds() -> ExitCode {
    for crd in api::crds() {
        match api::to_yaml(&crd) {
            Ok(yaml) => print!("---\n{yaml}"),
            Err(error) => return failed(&format!("a CustomResourceDefinition cannot be written: {error}")),
        }
    }
    ExitCode::SUCCESS
}

fn run(options: &RunOptions) -> ExitCode {
    log::init(options.log_level.filter(), options.log_format == LogFormat::Json);
    log::record_panics();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return failed("another TLS provider is installed already");
    }
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(operate(options)),
        Err(error) => failed(&format!("the runtime cannot be started: {error}")),
    }
}

async fn operate(options: &RunOptions) -> ExitCode {
    let (served, serving) = watch::channel(None);
    match admin::bind(options.admin_address).await {
        Ok(listener) => drop(tokio::spawn(admin::serve(listener, serving))),
        Err(error) => return failed(&format!("--admin-address {}: {error}", options.admin_address)),
    }
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return failed("signals cannot be received");
    };
    let (ask_to_stop, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        ask_to_stop.send_replace(true);
    });
    let client = tokio::select! {
        client = client::connect() => client,
        () = stopped(stop.clone()) => return ExitCode::SUCCESS,
    };
    let operator = match controller::Operator::new(client, options.config()) {
        Ok(operator) => operator,
        Err(error) => return failed(&error.to_string()),
    };
    let (context, health) = (operator.context.clone(), operator.health.clone());
    served.send_replace(Some(admin::Served { context, health }));
    operator.run(stop).await;
    ExitCode::SUCCESS
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn failed(why: &str) -> ExitCode {
    eprintln!("compliance-partner-operator: {why}");
    ExitCode::FAILURE
}
