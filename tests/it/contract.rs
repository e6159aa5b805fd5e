//! The contract with users, sentence by sentence, and the tests that show each: what the API server enforces, what the
//! operator does, what status tells.
//!
//! `lib::` are tests of the library, all others are tests of this binary; by these names `cargo test` finds them. A dash
//! says that no test shows a sentence. A sentence that several tests share stands once, where it is said first.
//!
//! # Group and versions
//! - Group, version, two namespaced kinds, no webhook: `crd::reading::both_kinds_are_found_by_every_name`,
//!   `lib::api::schema_tests::both_kinds_have_the_names_and_columns_that_users_know`
//! - `crds/` is what the program prints and what the code says:
//!   `binary::synced::the_program_prints_the_crds_that_users_install`,
//!   `lib::api::schema_tests::the_files_that_users_install_are_what_the_code_says`,
//!   `lib::api::schema_tests::the_yaml_reads_back_to_the_same_crd`
//! - Both CRDs can be installed by either apply, without a warning: `crd::both_crds_can_be_installed_by_either_apply`
//!
//! # ComplianceManagementPartner: shape
//! - Every field of the two documents is stored as it is written, by every way:
//!   `crd::documents::an_object_with_every_field_is_stored_as_it_is_written`,
//!   `kubectl::the_examples_are_applied_waited_for_and_shown`
//! - Every field, required or not, at its bounds and past them, as a schema that was written by hand says too:
//!   `crd::coverage::no_rule_of_the_schemas_is_left_untried`,
//!   `crd::coverage::the_lists_of_assignments_are_of_one_type`,
//!   `crd::reference::generated_and_hand_written_schemas_take_and_refuse_the_same`, `crd::rules::a_spec_is_required`
//! - What is not in the schema, such as what is reserved, goes or is refused by name:
//!   `crd::documents::a_field_that_there_is_not_goes_or_is_refused_by_name`
//! - `connectionRef` and `partnerRef` are immutable: `crd::immutable::what_a_partner_is_cannot_change_in_one_step_or_two`,
//!   `crd::immutable::server_side_apply_cannot_take_away_what_a_partner_is`,
//!   `crd::immutable::kubectl_apply_cannot_change_what_a_partner_is`,
//!   `crd::immutable::a_partner_that_is_named_keeps_its_name`,
//!   `crd::immutable::a_resource_that_is_made_anew_may_be_another`
//! - `partnerRef.displayName` is exact and unique in the tenant:
//!   `faults::naming::a_name_that_nobody_or_more_than_one_has_binds_to_nothing`
//! - Absent: not managed; `[]`: cleared: `sync::an_empty_list_clears_and_an_absent_one_is_left_alone`,
//!   `crd::writing::an_empty_list_stays_one`, `lib::partner::plan::tests::a_field_that_spec_leaves_out_is_never_sent`
//! - `observedGeneration` in every status write: `lib::partner::status::tests::world::whatever_happens_it_converges_and_then_is_quiet`
//! - `tenantId`, `cloud`, `partnerId`, `displayName` as bound: `sync::a_partner_that_agrees_already_becomes_ready_without_a_change`
//! - `drift` has one entry a managed field that differs: `sync::under_observe_drift_is_only_told`,
//!   `lib::partner::plan::tests::drift_tells_each_change_once`
//! - `lastUpdateTime` is of the last PATCH that took effect:
//!   `sync::an_edit_is_one_get_one_patch_with_exactly_the_changed_properties_and_one_get`
//!
//! # Rules
//! - No `default:` under spec, no `nullable`, a `maxLength` and a `maxItems` everywhere, list types, no `uint`:
//!   `lib::api::schema_tests::every_field_of_both_schemas_keeps_the_rules`, `lib::api::schema_tests::the_walk_finds_what_it_is_for`
//! - What is in git is what is in the cluster; the operator writes nothing but status:
//!   `crd::rules::every_rule_takes_what_is_within_and_names_itself_where_it_refuses`,
//!   `kubectl::the_examples_are_applied_waited_for_and_shown`,
//!   `crd::documents::only_the_status_subresource_writes_status`, `crd::immutable::a_write_to_status_changes_no_spec`
//! - Defaults live in code and in the field's description:
//!   `lib::api::tests::reference::fields::what_an_absent_field_is_said_to_mean_is_what_the_code_takes_it_for`,
//!   `lib::api::tests::reference::fields::every_property_of_graph_says_that_it_need_not_be_managed`
//! - The default of status: `crd::reading::a_resource_that_nobody_has_looked_at_says_so`
//! - A null is absent, and refused by name by server-side apply: `crd::writing::a_null_is_absent`,
//!   `crd::writing::a_null_deeper_within_is_absent_too`, `crd::writing::server_side_apply_refuses_each_null_by_name`
//! - Booleans and ids are never read leniently: `crd::writing::a_boolean_is_never_read_from_text`,
//!   `crd::documents::a_value_of_another_type_is_refused_by_the_name_of_its_field`
//! - What belongs to the service is read, never sent:
//!   `sync::an_edit_is_one_get_one_patch_with_exactly_the_changed_properties_and_one_get`,
//!   `lib::graph::model::patch::tests::a_patch_holds_its_properties_and_annotations_and_nothing_else`
//! - Assignments are a set, GUIDs compare without case: `lib::partner::plan::tests::order_repetition_and_case_do_not_count`,
//!   `lib::graph::model::decode::tests::assignments::assignments_are_a_set_and_ids_have_one_spelling`
//! - A list with something inexpressible is left alone, all else is sent:
//!   `faults::writes::a_list_with_an_entry_that_cannot_be_expressed_is_left_alone`,
//!   `lib::partner::plan::tests::the_rest_is_sent_beside_a_list_that_is_left_alone`
//! - The year 1 means that no heartbeat was ever seen: `faults::health::the_year_one_means_that_there_never_was_a_heartbeat`,
//!   `lib::graph::model::decode::tests::dotnets_smallest_date_in_any_spelling_means_never`
//! - 0 to 12 digits, any offset, one in the future is fresh:
//!   `lib::graph::model::decode::tests::heartbeats_carry_any_offset_and_up_to_12_digits`,
//!   `lib::partner::status::tests::heartbeats_that_never_were_that_are_to_come_and_that_no_calendar_has`
//! - When a heartbeat is written: `faults::health::a_heartbeat_that_moves_a_little_writes_no_status`,
//!   `lib::partner::status::tests::heartbeats_are_written_when_they_have_moved_far_enough`,
//!   `lib::partner::status::tests::a_small_move_is_written_with_whatever_else_is`
//! - States and properties of tomorrow pass: `faults::health::words_and_properties_of_tomorrow_pass_through`
//! - Bound: `faults::naming::a_name_is_bound_again_where_its_object_was_made_anew`,
//!   `faults::naming::what_is_bound_in_one_tenant_is_never_looked_for_in_another`,
//!   `faults::naming::an_object_that_is_not_there_or_goes_away_is_told`
//! - Each CEL rule, pattern and length, both ways, by create, either apply, merge patch and replace:
//!   `crd::rules::every_rule_takes_what_is_within_and_names_itself_where_it_refuses`,
//!   `crd::rules::kubectl_apply_takes_and_refuses_the_same`, `crd::rules::kubectl_apply_takes_and_refuses_the_same_edits`
//! - `syncInterval`: what CEL takes, the code parses to the same value: `crd::intervals::the_schema_takes_exactly_what_the_code_reads`,
//!   `crd::intervals::the_code_reads_what_cel_reads`
//! - Lists in status are unique, timestamps valid, strings cut: `crd::status::a_status_is_taken_or_refused_whole`,
//!   `connections::tenants::what_status_lists_of_the_collection_is_unique_and_bounded`,
//!   `lib::partner::status::tests::a_status_is_one_that_the_api_server_takes`
//! - A finalizer that somebody removed is put back: `deletion::reset::a_finalizer_comes_back_and_goes_as_the_policies_say`
//! - List types: `crd::lists::a_list_of_assignments_is_replaced_whole_and_has_one_owner`,
//!   `crd::lists::lists_in_status_are_merged_by_their_keys`, `crd::lists::fields_of_a_partner_may_have_owners_of_their_own`
//! - Printer columns, short names, categories: `crd::reading::kubectl_get_shows_both_kinds_with_their_columns`,
//!   `crd::reading::both_kinds_are_found_by_every_name`
//! - Selectable fields: `crd::reading::partners_can_be_selected_by_connection_and_by_id`
//!
//! # Policies
//! - Enforce reads, diffs, changes what differs, reads again:
//!   `sync::an_edit_is_one_get_one_patch_with_exactly_the_changed_properties_and_one_get`, `sync::drift_is_corrected_once_a_poll`,
//!   `sync::a_partner_that_agrees_already_becomes_ready_without_a_change`
//! - Observe never writes and tells; for an installation; for a connection: `sync::under_observe_drift_is_only_told`,
//!   `binary::synced::an_installation_that_only_observes_changes_nothing`,
//!   `connections::tenants::a_connection_that_only_reads_needs_no_more_and_changes_nothing`
//! - Retain: the object in Graph is left: `deletion::reset::without_a_reset_there_is_no_finalizer_and_nothing_is_sent`
//! - Reset: `deletion::reset::a_reset_clears_exactly_the_managed_fields_before_the_resource_goes`
//! - Suspended: no Graph call, a request is echoed: `claims::born_suspended_it_is_told_at_once_and_syncs_when_it_is_let`
//!
//! # Who manages an object
//! - The oldest holds; the others send nothing ever: `claims::the_younger_one_is_told_who_holds_and_sends_nothing_ever`,
//!   `lib::partner::claim::tests::the_holder_would_write_and_nobody_older_would`,
//!   `lib::partner::claim::tests::the_holder_does_not_depend_on_order`
//! - Health does not matter: `claims::an_outage_hands_nothing_over`,
//!   `claims::trouble_of_the_holders_connection_hands_nothing_over_and_its_end_does`
//! - A resource that is being deleted holds until its finalizer goes:
//!   `deletion::claims::all_of_an_object_deleted_at_once_resets_it_once`
//! - The holder is named within its namespace only: `claims::names_of_another_namespace_are_not_told`
//! - Queued as soon as the holder goes, is suspended or observes:
//!   `claims::the_object_is_handed_over_when_the_holder_is_deleted`,
//!   `claims::the_object_is_handed_over_when_the_holder_is_suspended_and_back`,
//!   `claims::the_object_is_handed_over_when_the_holder_turns_to_observe`,
//!   `claims::a_connection_that_only_reads_lets_its_partners_hold_nothing`
//! - Three corrections within an hour are `Contested`: `lib::partner::report::tests::each_change_is_told_once`
//!
//! # Deletion
//! - The finalizer is put on the holder, before anything is sent: `deletion::reset::the_finalizer_is_there_before_anything_is_sent`
//! - What is being deleted never gets it; only ours is taken off:
//!   `deletion::reset::a_resource_that_is_being_deleted_never_gets_a_finalizer`,
//!   `deletion::reset::of_several_finalizers_only_ours_is_taken_off`
//! - Suspended, it resets unless somebody else holds: `deletion::claims::suspended_it_resets_unless_somebody_else_holds_by_then`
//! - Where another waits, nothing is reset: `deletion::claims::where_another_resource_waits_nothing_is_reset_and_it_takes_over`
//! - In conflict, in Observe or never bound it is let go without a call:
//!   `deletion::claims::in_conflict_a_resource_is_let_go_without_a_call`,
//!   `deletion::reset::without_a_reset_there_is_no_finalizer_and_nothing_is_sent`,
//!   `deletion::reset::what_was_never_bound_is_let_go_without_a_call`
//! - A Reset touches managed fields only: `deletion::reset::a_reset_clears_exactly_the_managed_fields_before_the_resource_goes`,
//!   `lib::partner::plan::tests::a_reset_clears_managed_flags_and_lists_and_touches_nothing_else`
//! - What is skipped, and told: `deletion::reset::a_list_that_cannot_be_expressed_is_left_and_named`,
//!   `deletion::reset::another_tenants_connection_resets_nothing`
//! - A 404 ends the clean-up: `deletion::reset::an_object_that_is_gone_needs_no_reset`
//! - Turning to Retain lets go at once: `deletion::reset::turning_to_retain_while_deleting_lets_go_at_once`
//! - A session outlives its Secret, never its connection: `deletion::blocked::a_session_outlives_its_secret`,
//!   `deletion::blocked::a_missing_connection_is_told_waited_for_and_used_when_it_is_back`
//! - `CleanupBlocked`, and the end of it at its time: `deletion::blocked::a_missing_secret_blocks_and_its_return_ends_it`,
//!   `deletion::blocked::a_blocked_clean_up_is_given_up_at_its_time_whoever_restarts`,
//!   `deletion::blocked::a_block_is_given_up_without_anything_else_happening`,
//!   `deletion::cluster::a_namespace_goes_with_everything_in_it`
//! - Other trouble waits, visibly: `deletion::blocked::consent_that_was_taken_back_is_no_block`,
//!   `deletion::reset::a_graph_that_is_down_is_waited_for_also_through_a_restart`,
//!   `deletion::reset::a_refused_reset_says_why_and_how_to_let_go`
//! - The CRD is removed and put back: `deletion::cluster::a_crd_that_is_deleted_cleans_up_and_may_come_back`
//!
//! # The annotation
//! - A new value asks for a pass with a fresh read, and is echoed: `sync::the_annotation_asks_for_a_pass_with_a_fresh_read`,
//!   `connections::credentials::a_request_looks_at_the_secret_anew`
//! - Any new value, cut to 256 characters: `foreign::rows::any_new_value_is_a_request_also_where_its_echo_is_the_same`,
//!   `foreign::rows::what_rows_and_users_say_is_shown_clean_and_stops_nobody`
//! - It bumps no generation: `crd::documents::a_request_for_a_sync_is_no_new_generation`
//! - A request ends every backoff: `faults::naming::an_object_that_is_not_there_or_goes_away_is_told`
//!
//! # Conditions
//! - `lastTransitionTime` moves only with `status`: `lib::partner::status::tests::a_transition_time_moves_with_its_status_alone`
//! - The pair is present only while true, never both: `lib::api::reason::tests::no_row_that_is_ready_is_reconciling_or_stalled`
//! - `PartnerEnabled` from `partnerState`: `lib::partner::status::tests::partner_enabled_follows_graphs_word`,
//!   `lib::runtime::text::tests::a_state_word_becomes_a_reason`, `lib::runtime::text::tests::a_reason_is_one_that_kubernetes_takes`
//! - `HeartbeatFresh`, and the pass at the moment of turning stale: `faults::health::an_old_heartbeat_is_stale_and_told_once`,
//!   `faults::health::a_heartbeat_turns_stale_at_its_time_and_not_at_the_next_poll`
//! - Both keep their value while nothing could be read: `faults::outages::an_outage_that_lasts_makes_the_verdict_unknown`
//! - `PartnerNotFound` and `TenantChanged` remove them, and what was read with them:
//!   `lib::partner::status::tests::what_is_gone_leaves_nothing_of_itself_but_the_binding`
//!
//! # The table of reasons
//! - Each row, for the conditions and for the wait: `lib::partner::status::tests::table::each_reason_does_what_its_row_says`,
//!   `lib::partner::status::tests::table::waits_are_those_of_the_contract`
//! - The first row that applies wins: `lib::partner::status::tests::table::reasons_take_precedence_in_the_order_of_the_rows`
//! - `Cleaning`: `deletion::reset::a_graph_that_is_down_is_waited_for_also_through_a_restart`
//! - `Suspended`: `claims::born_suspended_it_is_told_at_once_and_syncs_when_it_is_let`
//! - `ConnectionNotFound`: `faults::naming::what_is_bound_in_one_tenant_is_never_looked_for_in_another`
//! - `ConnectionNotReady`: `connections::credentials::a_secret_that_comes_late_is_found_without_an_edit`
//! - `Throttled`: `faults::outages::a_pause_that_microsoft_asks_for_is_kept_by_all`
//! - `GraphUnavailable`, not applied: `faults::outages::a_server_in_trouble_is_waited_for`,
//!   `faults::outages::an_edit_during_an_outage_is_not_called_ready`
//! - `GraphUnavailable`, applied: `faults::outages::an_outage_leaves_what_was_applied_as_it_was_and_writes_nothing`,
//!   `faults::outages::an_outage_that_lasts_makes_the_verdict_unknown`
//! - `PartnerConflict`: `claims::the_younger_one_is_told_who_holds_and_sends_nothing_ever`
//! - `TenantChanged`: `faults::naming::what_is_bound_in_one_tenant_is_never_looked_for_in_another`
//! - `PartnerNotFound`, `PartnerAmbiguous`: `faults::naming::a_name_that_nobody_or_more_than_one_has_binds_to_nothing`
//! - `PermissionDenied`: `connections::tenants::a_missing_role_is_named_and_heals_when_it_is_granted`,
//!   `faults::writes::a_refusal_in_spite_of_the_right_role_is_told_as_one`
//! - `TenantNotLicensed`: `connections::tenants::a_tenant_without_a_licence_is_told_so`
//! - `RejectedByGraph`: `faults::writes::a_change_that_graph_refuses_is_told_and_waits_for_an_edit`
//! - `Verifying`: `faults::writes::a_change_that_shows_late_is_waited_for`
//! - `UpdateIneffective`: `faults::writes::a_change_without_effect_is_sent_again_only_when_something_is_new`
//! - `UnsupportedTarget`: `faults::writes::a_list_with_an_entry_that_cannot_be_expressed_is_left_alone`
//! - `DriftDetected`, `InSync`: `sync::under_observe_drift_is_only_told`,
//!   `sync::a_partner_that_agrees_already_becomes_ready_without_a_change`
//! - "Applied" is told from Ready alone: `lib::partner::status::tests::table::applied_is_told_from_ready_alone`
//! - A row with Stalled stays through transient trouble:
//!   `lib::partner::status::tests::table::a_stalled_verdict_stays_through_passing_trouble_of_its_generation_alone`
//! - The backoff: `lib::runtime::backoff::tests::doubles_to_the_cap_and_begins_anew_after_a_success`,
//!   `lib::runtime::backoff::tests::a_retry_after_above_the_cap_is_honoured`
//! - No miss is shown that the same pass has healed:
//!   `faults::outages::a_token_that_is_refused_is_replaced_once_and_nobody_sees_it`
//! - Which answers are trouble, and which a refusal: `lib::graph::error::tests::every_status_has_its_kind`,
//!   `faults::outages::a_connection_that_breaks_is_made_again`, `faults::outages::a_graph_that_hangs_is_not_waited_for_forever`,
//!   `faults::outages::a_page_in_the_place_of_an_answer_is_no_answer`,
//!   `faults::outages::a_row_that_cannot_be_read_costs_nobody_but_itself`,
//!   `faults::outages::a_list_without_rows_to_tell_of_is_no_proof_that_there_are_none`
//! - A missing list is empty: `lib::graph::model::decode::tests::assignments::an_empty_a_null_and_a_missing_list_are_the_same`
//! - Retry-After: `lib::graph::error::wait::tests::seconds_are_honoured_whole_and_rounded_up`,
//!   `lib::graph::throttle::tests::a_close_lasts_an_hour_at_most_and_is_never_shortened`
//! - Any 2xx is success, and a lost answer is looked for: `faults::writes::a_change_may_be_answered_without_a_body`,
//!   `faults::writes::a_change_whose_answer_is_lost_is_not_sent_twice`
//!
//! # Messages and events
//! - Messages are stable: `lib::graph::error::tests::the_months_build_of_the_service_changes_no_message`,
//!   `lib::graph::error::tests::the_ids_of_an_answer_are_in_no_message`
//! - Never a secret or a token: `binary::secrets::no_secret_and_no_token_is_told_anywhere_at_the_most_talkative_level`,
//!   `foreign::refusals::a_token_that_looks_like_any_word_is_not_repeated`
//! - Foreign strings, of rows and of users: `foreign::rows::what_rows_and_users_say_is_shown_clean_and_stops_nobody`,
//!   `foreign::rows::what_somebody_else_wrote_into_status_does_not_stop_its_writes`,
//!   `foreign::rows::a_name_that_was_cut_inside_a_character_costs_no_neighbour`
//! - Of Graph's and Entra's refusals: `foreign::refusals::what_graph_and_entra_refuse_with_is_told_clean_and_without_secrets`
//! - What becomes of their characters, and the cuts: `lib::runtime::text::tests::cleaned_text_keeps_its_bounds_and_holds_nothing_unfit`,
//!   `lib::runtime::text::tests::no_control_format_separator_or_private_character_passes`
//! - They pass one function: `lib::house_tests::whatever_is_told_goes_out_by_a_door_that_cleans_it`,
//!   `lib::house_tests::log_fields_are_words_of_ours_or_cleaned_and_cut`,
//!   `lib::runtime::log::tests::a_record_is_one_line_that_may_be_shown_whatever_is_in_it`
//! - A pass that changes nothing writes nothing: `sync::ten_idle_polls_are_one_list_each_and_write_nothing`,
//!   `shared_status::a_condition_of_another_controller_stays_and_costs_no_write`
//! - Events: `lib::partner::report::tests::each_change_is_told_once`,
//!   `lib::partner::report::tests::an_update_names_its_fields_and_its_cause`,
//!   `lib::partner::report::tests::ready_is_told_when_it_turns_false_and_with_its_reason`
//!
//! # GraphConnection
//! - Columns, the default of status, the annotation, the Warning: as for the partner
//! - Exactly one key in `auth`; `clientId` but for `managedIdentity`; names are DNS subdomains:
//!   `crd::rules::every_rule_takes_what_is_within_and_names_itself_where_it_refuses`,
//!   `crd::immutable::the_way_of_proof_can_change_by_every_way_of_writing`
//! - `tenantId` and `cloud` are immutable, absent equals Global: `crd::immutable::a_tenant_cannot_change`,
//!   `crd::immutable::a_cloud_that_is_left_out_is_global`, `crd::immutable::neither_apply_can_change_a_tenant_or_a_cloud`
//! - `key` absent, and a key of one's own: `connections::credentials::a_secret_that_comes_late_is_found_without_an_edit`,
//!   `connections::credentials::a_secret_under_a_key_of_ones_own_with_a_line_end_is_used`
//! - `roles` and `partners`: `connections::tenants::a_token_that_tells_nothing_works_as_well`,
//!   `connections::tenants::all_pages_of_the_collection_are_read`,
//!   `connections::tenants::what_status_lists_of_the_collection_is_unique_and_bounded`
//! - `SecretNotFound`: `connections::credentials::a_secret_that_comes_late_is_found_without_an_edit`
//! - `SecretInvalid`: `connections::credentials::a_secret_that_cannot_be_one_is_told_before_any_request`,
//!   `lib::credentials::tests::what_cannot_be_a_client_secret_is_refused_before_any_request`
//! - `AccessNotGranted`: `connections::credentials::without_consent_the_message_has_the_lines_that_give_it`
//! - `CredentialsRejected`: `connections::credentials::a_wrong_secret_is_one_token_request_for_fifty_partners`,
//!   `connections::tenants::a_tenant_that_does_not_exist_is_told_with_what_to_check`,
//!   `lib::graph::error::token::tests::known_codes_get_advice_of_their_own`
//! - 50196 is Throttled: `lib::graph::error::token::tests::a_loop_is_throttling_and_no_bad_credential`
//! - `PrincipalNotFound`: `connections::tenants::a_service_principal_that_is_not_known_yet_heals_by_itself`
//! - `TenantMismatch`: `connections::tenants::a_token_of_another_tenant_is_never_used`
//! - `Throttled`, `GraphUnavailable`: `faults::outages::an_entra_that_is_away_is_no_refusal`
//! - `ServiceAccountNotFound`, `ServiceAccountInvalid`, `IdentityNotAllowed`: –
//! - Consent by RBAC; the roles view, edit and admin:
//!   `roles::view_reads_edit_writes_partners_and_only_admin_writes_connections`,
//!   `kubectl::the_examples_are_applied_waited_for_and_shown`
//! - References have no namespace: `crd::writing::a_reference_takes_no_namespace`
//! - A session is keyed by Secret and spec: `connections::credentials::a_request_looks_at_the_secret_anew`
//! - A refusal is remembered: `connections::credentials::a_wrong_secret_is_one_token_request_for_fifty_partners`
//! - One trailing line end is cut: `lib::credentials::tests::one_trailing_line_end_is_cut_and_nothing_else`
//! - `cloud` alone picks the addresses: `lib::graph::cloud::tests::each_cloud_has_its_own_root_and_scope`,
//!   `lib::graph::cloud::tests::every_address_is_a_plain_https_origin`
//!
//! # Names that users script against
//! - The program, its flags and its ports: `binary::synced::the_program_syncs_and_tells_how_it_is`,
//!   `binary::synced::a_wrong_flag_is_named_and_ends_the_program_with_two`, `lib::options::tests::durations_are_read_in_go_style`,
//!   `binary::synced::a_graph_that_is_down_fails_no_probe`
//! - `@odata.type` on root, assignment and target: `lib::graph::model::patch::tests::every_assignment_and_target_carries_its_type`
//! - Metrics: `binary::synced::the_program_syncs_and_tells_how_it_is`
//!
//! # What users read
//! - The documents of README are taken: `crd::documents::the_documents_of_the_readme_are_taken`
//! - `kubectl explain`: `crd::explain::kubectl_explain_describes_every_field`,
//!   `crd::explain::kubectl_explain_tells_each_field_of_spec_by_its_path`, `crd::explain::kubectl_explain_lists_both_kinds_whole`
//! - The reference of fields and reasons: `lib::api::tests::reference::the_reference_is_what_the_code_says`
//! - README's tables: `lib::api::tests::reference::readme::every_reason_has_its_row_with_what_to_do`,
//!   `lib::api::tests::reference::readme::the_reasons_that_a_connection_shares_are_reasons`,
//!   `lib::api::tests::reference::readme::the_waits_of_reasons_are_told_as_they_are`,
//!   `lib::api::tests::reference::readme::every_condition_has_its_row`,
//!   `lib::api::tests::reference::readme::every_reason_of_the_partners_own_conditions_has_its_row`,
//!   `lib::api::tests::reference::readme::every_event_is_told`,
//!   `lib::api::tests::reference::readme::every_flag_has_its_row_with_its_default`

// Helpers may panic as tests may: a wrong index is a failed test.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use harness::checkout;

/// The tests that the table names.
fn named() -> BTreeSet<&'static str> {
    let doc = include_str!("contract.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"));
    let words = doc.flat_map(|line| line.split('`').skip(1).step_by(2));
    words
        .filter(|word| word.contains("::") && !word.ends_with("::"))
        .collect()
}

/// The file of a module, or the file with the module in it.
fn file_of(root: &Path, modules: &[&str]) -> Option<PathBuf> {
    let folder: PathBuf = modules
        .iter()
        .fold(root.to_path_buf(), |path, module| path.join(module));
    [folder.with_extension("rs"), folder.join("mod.rs")]
        .into_iter()
        .find(|file| file.is_file())
        .or_else(|| {
            let (module, above) = modules.split_last()?;
            let file = file_of(root, above)?;
            let text = fs::read_to_string(&file).ok()?;
            text.contains(&format!("mod {module} {{")).then_some(file)
        })
}

/// Whether a function of this name is a test that runs.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let of_function = |line: &&str| {
        let line = line.trim_start_matches("async ");
        line.starts_with(&format!("fn {name}("))
    };
    let Some(at) = lines.iter().position(of_function) else {
        return false;
    };
    let attributes: Vec<&&str> = lines[..at]
        .iter()
        .rev()
        .take_while(|line| line.starts_with("#["))
        .collect();
    attributes
        .iter()
        .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        && !attributes.iter().any(|line| line.contains("ignore"))
}

#[test]
fn every_test_that_is_named_here_exists() {
    let named = named();
    assert!(named.len() > 100, "the table is not read: {named:?}");
    let mut missing = Vec::new();
    for path in named {
        let mut parts: Vec<&str> = path.split("::").collect();
        let root = if parts[0] == "lib" {
            parts.remove(0);
            checkout().join("src")
        } else {
            checkout().join("tests/it")
        };
        let name = parts.pop().unwrap();
        let text = file_of(&root, &parts).map(|file| fs::read_to_string(file).unwrap());
        if !text.is_some_and(|text| is_test(&text, name)) {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
