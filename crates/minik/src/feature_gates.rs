//! Feature gates: what of Kubernetes 1.36 minik does, by upstream's names.
//!
//! **Contract**: nothing is switched here. A value that is what minik does is accepted; another one is refused by name, and so is a
//! name that Kubernetes does not know.
//! **Upstream**: `--feature-gates`; `kube_features.go`, whose names these are. Gates of upstream's own machinery, which nobody sees
//! from outside, have upstream's default.

use crate::problem::Problem;
use anyhow::Result;
use std::collections::BTreeMap;

/// Gates by name, with what is asked for.
pub type FeatureGates = BTreeMap<String, bool>;

/// What minik does.
const ON: &str = "
    APIResponseCompression APIServerIdentity AggregatedDiscoveryRemoveBetaType AllowParsingUserUIDFromCertAuth
    AnonymousAuthConfigurableEndpoints AnyVolumeDataSource AtomicFIFO AuthorizeNodeWithSelectors
    AuthorizePodWebsocketUpgradeCreatePermission AuthorizeWithSelectors BtreeWatchCache CRDValidationRatcheting
    ClearingNominatedNodeNameAfterBinding ComponentFlagz ComponentStatusz ConsistentListFromCache
    ConstrainedImpersonation ContainerRestartRules
    CustomResourceFieldSelectors DRAAdminAccess DRAConsumableCapacity DRADeviceBindingConditions DRADeviceTaints DRAExtendedResource
    DRAPartitionableDevices DRAPrioritizedList DRAResourceClaimDeviceStatus
    DRAResourceClaimGranularStatusAuthorization DeclarativeValidation DeploymentReplicaSetTerminatingReplicas DetectCacheInconsistency
    DisableAllocatorDualWrite DisableNodeKubeProxyVersion DynamicResourceAllocation EnvFiles
    ExecProbeTimeout GracefulNodeShutdown
    HPAConfigurableTolerance HonorPVReclaimPolicy HostnameOverride ImageMaximumGCAge ImageVolume
    InOrderInformers InOrderInformersBatchProcess InPlacePodVerticalScaling InformerResourceVersion
    JobBackoffLimitPerIndex JobManagedBy JobPodReplacementPolicy JobSuccessPolicy KubeletCgroupDriverFromCRI
    KubeletEnsureSecretPulledImages KubeletFineGrainedAuthz ListFromCacheSnapshot LogarithmicScaleDown MatchLabelKeysInPodAffinity
    MatchLabelKeysInPodTopologySpread MatchLabelKeysInPodTopologySpreadSelectorMerge MaxUnavailableStatefulSet
    MultiCIDRServiceAllocator MutatingAdmissionPolicy NFTablesProxyMode NodeInclusionPolicyInPodTopologySpread
    NominatedNodeNameForExpectation OpenAPIEnums OpportunisticBatching OrderedNamespaceDeletion PodDeletionCost
    PodLevelResources PodLifecycleSleepAction PodLifecycleSleepActionAllowZero PodObservedGenerationTracking
    PodReadyToStartContainersCondition PodSchedulingReadiness PortForwardWebsockets
    PreferSameTrafficDistribution PreventStaticPodAPIReferences RecoverVolumeExpansionFailure
    RecursiveReadOnlyMounts RelaxedDNSSearchValidation RelaxedEnvironmentVariableValidation
    RelaxedServiceNameValidation RemoteRequestHeaderUID ResilientWatchCacheInitialization
    RestartAllContainersOnContainerExits RetryGenerateName
    SchedulerAsyncPreemption SchedulerPopFromBackoffQ SchedulerQueueingHints SeparateTaintEvictionController
    ServiceAccountNodeAudienceRestriction ServiceAccountTokenJTI ServiceAccountTokenNodeBinding
    ServiceAccountTokenNodeBindingValidation ServiceAccountTokenPodNodeInfo SidecarContainers
    SizeBasedListCostEstimate StatefulSetSemanticRevisionComparison StorageNamespaceIndex StorageVersionHash
    StreamingCollectionEncodingToJSON StreamingCollectionEncodingToProtobuf
    StructuredAuthenticationConfiguration TokenRequestServiceAccountUIDValidation
    TranslateStreamCloseWebsocketRequests UnauthenticatedHTTP2DOSMitigation UnlockWhileProcessingFIFO
    VolumeAttributesClass WatchCacheInitializationPostStartHook WatchList WatchListClient";

/// What minik does not.
const OFF: &str = "
    APIServerTracing APIServingWithRoutine AllAlpha AllowDNSOnlyNodeCSR
    AllowInsecureKubeletCertificateSigningRequests AllowOverwriteTerminationGracePeriodSeconds
    AllowUnsafeMalformedObjectDeletion CBORServingAndStorage CPUManagerPolicyAlphaOptions
    CPUManagerPolicyBetaOptions CPUManagerPolicyOptions CRDObservedGenerationTracking
    CSIServiceAccountTokenSecrets CSIVolumeHealth ChangeContainerStatusOnKubeletRestart ClientsAllowCBOR
    ClientsPreferCBOR CloudControllerManagerWatchBasedRoutesReconciliation CloudControllerManagerWebhook
    ClusterTrustBundle ClusterTrustBundleProjection ConcurrentWatchObjectDecode
    ContainerCheckpoint ContainerStopSignals CoordinatedLeaderElection
    CrossNamespaceVolumeDataSource CustomCPUCFSQuotaPeriod
    DRADeviceTaintRules DRAListTypeAttributes
    DRANodeAllocatableResources DRASchedulerFilterTimeout DeclarativeValidationTakeover
    DisableCPUQuotaWithExclusiveCPUs EventedPLEG ExternalServiceAccountTokenSigner
    GangScheduling GenericWorkload GitRepoVolumeDriver GracefulNodeShutdownBasedOnPodPriority HPAScaleToZero
    ImageVolumeWithDigest InPlacePodLevelResourcesVerticalScaling InPlacePodVerticalScalingAllocatedStatus
    InPlacePodVerticalScalingExclusiveCPUs InPlacePodVerticalScalingExclusiveMemory KMSv1
    KubeletCrashLoopBackOffMax KubeletInUserNamespace KubeletPSI
    KubeletPodResourcesDynamicResources KubeletPodResourcesGet KubeletPodResourcesListUseActivePods
    KubeletRegistrationGetOnExistsOnly KubeletSeparateDiskGC KubeletServiceAccountTokenForCredentialProviders
    KubeletTracing LocalStorageCapacityIsolationFSQuotaMonitoring MemoryQoS MutableCSINodeAllocatableCount
    MutablePVNodeAffinity MutablePodResourcesForSuspendedJobs MutableSchedulingDirectivesForSuspendedJobs
    NodeDeclaredFeatures NodeLogQuery NodeSwap PodAndContainerStatsFromCRI PodCertificateRequest
    PodLogsQuerySplitStreams PodTopologyLabelsAdmission ProcMountType QOSReserved
    ReduceDefaultCrashLoopBackOffDecay ReloadKubeletServerCertificateFile ResourceHealthStatus
    ResourceHealthStatusMessage RotateKubeletServerCertificate RuntimeClassInImageCriApi
    SELinuxChangePolicy SELinuxMount SELinuxMountReadWriteOncePod
    SchedulerAsyncAPICalls SeparateCacheWatchRPC StorageCapacityScoring StorageVersionAPI StorageVersionMigrator
    StrictIPCIDRValidation StructuredAuthenticationConfigurationEgressSelector
    StructuredAuthenticationConfigurationJWKSMetrics SupplementalGroupsPolicy SystemdWatchdog
    TaintTolerationComparisonOperators TopologyManagerPolicyAlphaOptions TopologyManagerPolicyBetaOptions
    TopologyManagerPolicyOptions UnknownVersionInteroperabilityProxy UserNamespacesHostNetworkSupport
    UserNamespacesSupport VolumeLimitScaling WinDSR WinOverlay WindowsCPUAndMemoryAffinity
    WindowsGracefulNodeShutdown WindowsHostNetwork";

/// Reads `A=true,B=false`.
pub(crate) fn parse(text: &str) -> Result<FeatureGates, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| format!("malformed pair, expect string=bool: {pair}"))?;
        // As Go reads booleans.
        let value = match value.trim() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            other => return Err(format!("invalid value of {name}={other}, err: invalid syntax")),
        };
        Ok((name.trim().to_owned(), value))
    };
    pairs.map(pair).collect()
}

/// Whether these are what minik does.
pub(crate) fn check(gates: &FeatureGates) -> Result<()> {
    for (name, wanted) in gates {
        let has = |list: &str| list.split_whitespace().any(|known| known == name);
        let refused = match (has(ON), has(OFF), wanted) {
            (true, _, true) | (_, true, false) => continue,
            (true, _, false) => {
                format!("feature gate {name:?} cannot be switched off: minik always does this")
            }
            (_, true, true) => {
                format!("feature gate {name:?} cannot be switched on: minik does not have this")
            }
            _ if name == "AllBeta" => {
                "feature gate \"AllBeta\" cannot be switched: minik has some of them, and no switch"
                    .to_owned()
            }
            _ => {
                let hint = "these are Kubernetes 1.36's; see how it is spelled, or leave it out";
                return Err(Problem::error(format!("unrecognized feature gate: {name}"), hint));
            }
        };
        return Err(Problem::error(
            refused,
            "leave it out of --feature-gates, or of featureGates in the file",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_accepted_and_the_rest_is_refused_by_name() {
        for (text, refused) in [
            ("SidecarContainers=true,UserNamespacesSupport=false", None),
            ("AllAlpha=false, WatchList=1", None),
            ("", None),
            ("SidecarContainers=false", Some("feature gate \"SidecarContainers\" cannot be switched off")),
            ("GangScheduling=true", Some("feature gate \"GangScheduling\" cannot be switched on")),
            ("AllAlpha=true", Some("feature gate \"AllAlpha\" cannot be switched on")),
            ("AllBeta=false", Some("feature gate \"AllBeta\" cannot be switched")),
            ("FlyingPods=true", Some("unrecognized feature gate: FlyingPods")),
        ] {
            let said = check(&parse(text).expect("gates")).map_err(|error| error.to_string());
            match refused {
                None => assert_eq!(said, Ok(()), "{text}"),
                Some(why) => assert!(said.as_ref().is_err_and(|said| said.starts_with(why)), "{said:?}"),
            }
        }
        assert_eq!(parse("A"), Err("malformed pair, expect string=bool: A".to_owned()));
        assert_eq!(parse("A=x"), Err("invalid value of A=x, err: invalid syntax".to_owned()));
    }

    #[test]
    fn a_gate_is_on_or_off_and_listed_once() {
        let mut all: Vec<&str> = ON.split_whitespace().chain(OFF.split_whitespace()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), all.contains(&"AllBeta")), (count, false));
    }
}
