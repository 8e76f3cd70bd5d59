//! Services and the account of the pod.

use std::collections::BTreeMap;

use godb_crds::instance::{IpFamilyPolicy, ServiceType};
use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::instance::validate::Valid;
use crate::names::{self, ADMIN_PORT, HTTP_PORT};

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

pub(super) fn service(valid: &Valid) -> Service {
    let asked = &valid.spec.service;
    let type_ = match asked.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let policy = asked.ip_family_policy.map(|policy| match policy {
        IpFamilyPolicy::SingleStack => "SingleStack",
        IpFamilyPolicy::PreferDualStack => "PreferDualStack",
        IpFamilyPolicy::RequireDualStack => "RequireDualStack",
    });
    Service {
        metadata: metadata(
            valid,
            valid.names.instance.clone(),
            asked.annotations.clone(),
        ),
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(names::selector(&valid.names.instance)),
            ports: Some(vec![port("http", HTTP_PORT)]),
            ip_family_policy: policy.map(str::to_owned),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Names the pod from its first moment: the operator and an administrator reach a node that is
/// not ready.
pub(super) fn headless(valid: &Valid) -> Service {
    Service {
        metadata: metadata(valid, valid.names.headless(), BTreeMap::new()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&valid.names.instance)),
            ports: Some(vec![port("http", HTTP_PORT), port("admin", ADMIN_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub(super) fn service_account(valid: &Valid) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(
            valid,
            valid.names.instance.clone(),
            valid.spec.service_account.annotations.clone(),
        ),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
