//! The contract with users, sentence by sentence, and the tests that show each: what the API server enforces, what the
//! operator does, what status tells.
//!
//! `lib::` are tests of the library, all others are tests of this binary; by these names `cargo test` finds them. A dash
//! says that no test shows a sentence. A test that shows several sentences stands with each.
//!
//! # Group and versions
//! - Group, version, two namespaced kinds, no webhook: `crd::reading::both_kinds_are_found_by_every_name`,
//!   `lib::api::schema_tests::both_kinds_have_the_names_and_columns_that_users_know`
//! - `crds/` is what the program prints and what the code says:
//!   `binary::synced::the_program_prints_the_crds_that_users_install`,
//!   `lib::api::schema_tests::the_files_that_users_install_are_what_the_code_says`,
//!   `lib::api::schema_tests::the_yaml_reads_back_to_the_same_crd`
//! - Both CRDs can be installed by either apply, without a warning: `crd::both_crds_can_be_installed_by_either_apply`
//! - An older CRD, and one that comes late: `schemas::an_older_crd_is_told_and_causes_no_write_loop`,
//!   `binary::lifecycle::without_crds_it_waits_and_goes_on_when_they_come`
//! - An object that was stored under a laxer schema: `schemas::an_object_from_a_laxer_crd_does_not_stop_the_others`
//!
//! # ComplianceManagementPartner: shape
//! - Every field of the two documents is stored as it is written, by every way:
//!   `crd::documents::an_object_with_every_field_is_stored_as_it_is_written`,
//!   `crd::documents::the_largest_spec_is_taken_by_every_way`, `kubectl::the_examples_are_applied_waited_for_and_shown`
//! - Every field, required or not, at its bounds and past them, as a schema that was written by hand says too:
//!   `crd::coverage::no_rule_of_the_schemas_is_left_untried`,
//!   `crd::coverage::the_lists_of_assignments_are_of_one_type`,
//!   `crd::reference::generated_and_hand_written_schemas_take_and_refuse_the_same`, `crd::rules::a_spec_is_required`
//! - What is not in the schema, such as what is reserved, goes or is refused by name:
//!   `crd::documents::a_field_that_there_is_not_goes_or_is_refused_by_name`
//! - `connectionRef` and `partnerRef` are immutable:
//!   `crd::immutable::what_a_partner_is_cannot_change_in_one_step_or_two`,
//!   `crd::immutable::server_side_apply_cannot_take_away_what_a_partner_is`,
//!   `crd::immutable::kubectl_apply_cannot_change_what_a_partner_is`,
//!   `crd::immutable::a_partner_that_is_named_keeps_its_name`,
//!   `crd::immutable::a_resource_that_is_made_anew_may_be_another`
//! - `connectionRef` is of the same namespace: `binding::a_connection_of_another_namespace_is_none`,
//!   `manifests::a_reference_to_another_namespace_is_read_in_ones_own`
//! - `partnerRef.displayName` is exact and unique in the tenant:
//!   `faults::naming::a_name_that_nobody_or_more_than_one_has_binds_to_nothing`,
//!   `binding::of_a_bound_object_that_is_gone_the_one_other_of_its_name_is_taken`
//! - `syncInterval` absent: the operator's own:
//!   `pace::each_resource_is_polled_at_its_own_interval_and_a_shorter_one_counts_at_once`
//! - Absent: not managed; `[]`: cleared: `sync::an_empty_list_clears_and_an_absent_one_is_left_alone`,
//!   `crd::writing::an_empty_list_stays_one`, `edits::a_field_that_spec_no_longer_names_is_let_go`,
//!   `told::no_list_is_an_empty_one_and_an_absent_one_is_not_compared`,
//!   `lib::partner::plan::tests::a_field_that_spec_leaves_out_is_never_sent`
//! - Each property of Graph is compared, told and sent:
//!   `told::drift_tells_each_field_in_its_own_form_and_enforce_sends_just_that`
//! - `observedGeneration` in every status write: `told::each_write_of_status_tells_the_generation_that_was_seen`,
//!   `weather::whatever_happens_it_ends_well`,
//!   `lib::partner::tests::whatever_happens_it_converges_and_then_is_quiet`
//! - `tenantId`, `cloud`, `partnerId`, `displayName` as bound:
//!   `sync::a_partner_that_agrees_already_becomes_ready_without_a_change`,
//!   `binding::a_name_is_looked_up_only_until_it_is_found`
//! - `partnerState` is Graph's own word: `told::each_of_graphs_words_has_its_verdict`
//! - `lastHeartbeatDateTime` is in UTC and whole seconds:
//!   `pace::a_heartbeat_is_written_with_anything_else_in_utc_and_whole_seconds`
//! - `platforms`, their order, and none: `told::all_platforms_stand_in_one_order_and_none_leave_the_field_out`
//! - `drift` has one entry a managed field that differs: `sync::under_observe_drift_is_only_told`,
//!   `told::drift_tells_each_field_in_its_own_form_and_enforce_sends_just_that`,
//!   `lib::partner::plan::tests::drift_tells_each_change_once`
//! - `lastUpdateTime` is of the last PATCH that took effect:
//!   `told::the_last_update_is_the_last_change_that_took_effect`
//!
//! # Rules
//! - No `default:` under spec, no `nullable`, a `maxLength` and a `maxItems` everywhere, list types, no `uint`:
//!   `lib::api::schema_tests::every_field_of_both_schemas_keeps_the_rules`,
//!   `lib::api::schema_tests::the_walk_finds_what_it_is_for`
//! - The operator writes nothing but status and its finalizer, under its own field manager:
//!   `kubectl::the_examples_are_applied_waited_for_and_shown`,
//!   `told::each_write_of_status_tells_the_generation_that_was_seen`
//! - What is in git is what is in the cluster:
//!   `crd::rules::every_rule_takes_what_is_within_and_names_itself_where_it_refuses`
//! - Status is written by its subresource alone, and that writes nothing else:
//!   `crd::documents::only_the_status_subresource_writes_status`, `crd::immutable::a_write_to_status_changes_no_spec`
//! - Defaults live in code and in the field's description:
//!   `lib::api::tests::reference::fields::what_an_absent_field_is_said_to_mean_is_what_the_code_takes_it_for`,
//!   `lib::api::tests::reference::fields::every_property_of_graph_says_that_it_need_not_be_managed`
//! - The default of status: `crd::reading::a_resource_that_nobody_has_looked_at_says_so`,
//!   `reasons::scripts::what_nobody_has_looked_at_is_in_progress`
//! - A null is absent, and refused by name by server-side apply: `crd::writing::a_null_is_absent`,
//!   `crd::writing::a_null_deeper_within_is_absent_too`, `crd::writing::server_side_apply_refuses_each_null_by_name`,
//!   `manifests::a_null_leaves_graph_alone_and_an_empty_list_clears`
//! - Booleans and ids are never read leniently: `crd::writing::a_boolean_is_never_read_from_text`,
//!   `crd::documents::a_value_of_another_type_is_refused_by_the_name_of_its_field`,
//!   `lib::graph::model::decode::tests::flags_are_never_guessed`
//! - What belongs to the service is read, never sent:
//!   `told::drift_tells_each_field_in_its_own_form_and_enforce_sends_just_that`,
//!   `lib::graph::model::patch::tests::a_patch_holds_its_properties_and_annotations_and_nothing_else`
//! - Assignments are a set, GUIDs compare without case: `told::assignments_are_a_set_in_any_order_case_and_number`,
//!   `binding::an_id_is_the_same_in_any_case`, `lib::partner::plan::tests::order_repetition_and_case_do_not_count`
//! - Group ids are opaque, never looked up, never dropped:
//!   `told::drift_tells_each_field_in_its_own_form_and_enforce_sends_just_that`
//! - A list with something inexpressible is left alone, all else is sent:
//!   `faults::writes::a_list_with_an_entry_that_cannot_be_expressed_is_left_alone`,
//!   `told::a_list_is_left_alone_whatever_in_it_cannot_be_expressed`,
//!   `lib::partner::plan::tests::the_rest_is_sent_beside_a_list_that_is_left_alone`
//! - The year 1 means that no heartbeat was ever seen:
//!   `faults::health::the_year_one_means_that_there_never_was_a_heartbeat`,
//!   `pace::a_heartbeat_is_written_with_anything_else_in_utc_and_whole_seconds`,
//!   `lib::graph::model::decode::tests::dotnets_smallest_date_in_any_spelling_means_never`
//! - 0 to 12 digits, any offset, one in the future is fresh:
//!   `pace::a_heartbeat_is_written_with_anything_else_in_utc_and_whole_seconds`,
//!   `lib::graph::model::decode::tests::heartbeats_carry_any_offset_and_up_to_12_digits`,
//!   `lib::partner::status::tests::heartbeats_that_never_were_that_are_to_come_and_that_no_calendar_has`
//! - When a heartbeat is written: `faults::health::a_heartbeat_that_moves_a_little_writes_no_status`,
//!   `metrics::flags_say_when_a_heartbeat_is_written_and_when_it_is_stale`,
//!   `lib::partner::status::tests::heartbeats_are_written_when_they_have_moved_far_enough`,
//!   `lib::partner::status::tests::a_small_move_is_written_with_whatever_else_is`
//! - States and properties of tomorrow pass: `faults::health::words_and_properties_of_tomorrow_pass_through`
//! - A name is looked up only while unbound: `binding::a_name_is_looked_up_only_until_it_is_found`,
//!   `lib::partner::tests::found::an_object_that_was_renamed_since_the_listing_is_not_bound`
//! - The bound object is gone: one other of its name binds again, none is `PartnerNotFound`:
//!   `faults::naming::a_name_is_bound_again_where_its_object_was_made_anew`,
//!   `binding::of_a_bound_object_that_is_gone_the_one_other_of_its_name_is_taken`,
//!   `binding::a_listing_from_before_the_object_went_does_not_hide_the_new_one`,
//!   `binding::a_listing_that_still_has_the_object_does_not_make_two_of_one`
//! - A bound id is used only for its tenant and cloud:
//!   `faults::naming::what_is_bound_in_one_tenant_is_never_looked_for_in_another`,
//!   `binding::in_another_cloud_or_tenant_all_that_status_knew_goes_and_comes_back`
//! - Each CEL rule, pattern and length, both ways, by create, either apply, merge patch and replace:
//!   `crd::rules::every_rule_takes_what_is_within_and_names_itself_where_it_refuses`,
//!   `crd::rules::kubectl_apply_takes_and_refuses_the_same`,
//!   `crd::rules::kubectl_apply_takes_and_refuses_the_same_edits`
//! - `syncInterval`: what CEL takes, the code parses to the same value:
//!   `crd::intervals::the_schema_takes_exactly_what_the_code_reads`, `crd::intervals::the_code_reads_what_cel_reads`
//! - So is everything else that the schema takes: `crd::typed::what_the_schema_takes_the_code_reads_to_the_same_value`
//! - Lists in status are unique, timestamps valid, strings cut: `crd::status::a_status_is_taken_or_refused_whole`,
//!   `connections::tenants::what_status_lists_of_the_collection_is_unique_and_bounded`,
//!   `lib::partner::status::tests::a_status_is_one_that_the_api_server_takes`,
//!   `lib::connection::tests::whatever_a_tenant_lists_the_status_is_one_that_the_api_server_takes_and_keeps`
//! - A finalizer that somebody removed is put back:
//!   `deletion::reset::a_finalizer_comes_back_and_goes_as_the_policies_say`
//! - List types: `crd::lists::a_list_of_assignments_is_replaced_whole_and_has_one_owner`,
//!   `crd::lists::lists_in_status_are_merged_by_their_keys`,
//!   `crd::lists::fields_of_a_partner_may_have_owners_of_their_own`
//! - Printer columns, short names, categories: `crd::reading::kubectl_get_shows_both_kinds_with_their_columns`,
//!   `crd::reading::both_kinds_are_found_by_every_name`
//! - Selectable fields: `crd::reading::partners_can_be_selected_by_connection_and_by_id`
//!
//! # Policies
//! - Enforce reads, diffs, changes what differs, reads again:
//!   `sync::an_edit_is_one_get_one_patch_with_exactly_the_changed_properties_and_one_get`,
//!   `sync::drift_is_corrected_once_a_poll`, `sync::a_partner_that_agrees_already_becomes_ready_without_a_change`,
//!   `edits::an_edit_that_comes_while_an_older_one_is_sent_wins`
//! - Observe never writes and tells what Enforce would send: `sync::under_observe_drift_is_only_told`,
//!   `told::drift_tells_each_field_in_its_own_form_and_enforce_sends_just_that`
//! - Observe for an installation, and for a connection:
//!   `binary::synced::an_installation_that_only_observes_changes_nothing`,
//!   `connections::tenants::a_connection_that_only_reads_needs_no_more_and_changes_nothing`
//! - Retain: the object in Graph is left: `deletion::reset::without_a_reset_there_is_no_finalizer_and_nothing_is_sent`
//! - Reset: `deletion::reset::a_reset_clears_exactly_the_managed_fields_before_the_resource_goes`
//! - Suspended: no Graph call, a request is echoed:
//!   `claims::born_suspended_it_is_told_at_once_and_syncs_when_it_is_let`,
//!   `pace::suspended_while_it_reads_it_sends_nothing_any_more`,
//!   `pace::suspended_while_a_change_is_on_its_way_the_outcome_is_told`,
//!   `pace::what_is_not_ready_is_not_called_so_while_it_is_suspended`
//!
//! # Who manages an object
//! - One (`cloud`, `tenantId`, `id`) is one object: `contest::one_id_in_two_clouds_is_two_objects`,
//!   `lib::partner::claim::tests::ids_are_one_object_in_any_case`
//! - The oldest holds, by `creationTimestamp`, then `uid`:
//!   `claims::the_younger_one_is_told_who_holds_and_sends_nothing_ever`,
//!   `contest::of_two_that_were_made_in_one_second_the_smaller_uid_holds`,
//!   `lib::partner::claim::tests::the_holder_would_write_and_nobody_older_would`,
//!   `lib::partner::claim::tests::the_holder_does_not_depend_on_order`,
//!   `lib::partner::claim::tests::only_the_holder_or_an_older_one_moves_the_claim`
//! - Only what is bound holds, and whose connection is there:
//!   `contest::an_older_one_that_has_never_read_the_object_holds_nothing`,
//!   `contest::a_holder_whose_connection_leads_elsewhere_holds_no_more`
//! - Health does not matter: `claims::an_outage_hands_nothing_over`,
//!   `claims::trouble_of_the_holders_connection_hands_nothing_over_and_its_end_does`
//! - A resource that is being deleted holds until its finalizer goes:
//!   `deletion::claims::all_of_an_object_deleted_at_once_resets_it_once`
//! - The others send nothing, and learn no name of another namespace:
//!   `claims::names_of_another_namespace_are_not_told`,
//!   `contest::two_namespaces_that_share_a_tenant_have_one_writer_and_learn_no_names`
//! - Queued as soon as the holder goes, is suspended or observes:
//!   `claims::the_object_is_handed_over_when_the_holder_is_deleted`,
//!   `claims::the_object_is_handed_over_when_the_holder_is_suspended_and_back`,
//!   `claims::the_object_is_handed_over_when_the_holder_turns_to_observe`,
//!   `claims::a_connection_that_only_reads_lets_its_partners_hold_nothing`
//! - Three corrections of one field are `Contested`; other clusters are not seen:
//!   `contest::three_corrections_of_one_field_are_told_as_a_contest`,
//!   `contest::two_clusters_that_disagree_say_so_and_write_once_a_poll`
//! - The corrections are those of one hour: –
//!
//! # Deletion
//! - The finalizer is put on the holder, before anything is sent:
//!   `deletion::reset::the_finalizer_is_there_before_anything_is_sent`
//! - What is being deleted never gets it; only ours is taken off:
//!   `deletion::reset::a_resource_that_is_being_deleted_never_gets_a_finalizer`,
//!   `deletion::reset::of_several_finalizers_only_ours_is_taken_off`
//! - Suspended, it resets unless somebody else holds:
//!   `deletion::claims::suspended_it_resets_unless_somebody_else_holds_by_then`
//! - Where another waits, nothing is reset:
//!   `deletion::claims::where_another_resource_waits_nothing_is_reset_and_it_takes_over`,
//!   `lib::runtime::index::tests::an_heir_would_write_and_is_there_to_stay`
//! - In conflict, in Observe or never bound it is let go without a call:
//!   `deletion::claims::in_conflict_a_resource_is_let_go_without_a_call`,
//!   `deletion::reset::without_a_reset_there_is_no_finalizer_and_nothing_is_sent`,
//!   `deletion::reset::what_was_never_bound_is_let_go_without_a_call`
//! - A Reset touches managed fields only:
//!   `deletion::reset::a_reset_clears_exactly_the_managed_fields_before_the_resource_goes`,
//!   `lib::partner::plan::tests::a_reset_clears_managed_flags_and_lists_and_touches_nothing_else`
//! - What is skipped, and told: `deletion::reset::a_list_that_cannot_be_expressed_is_left_and_named`,
//!   `deletion::reset::another_tenants_connection_resets_nothing`
//! - A 404 ends the clean-up: `deletion::reset::an_object_that_is_gone_needs_no_reset`
//! - A Reset whose answer is lost is looked for: `pool::a_reset_whose_connection_breaks_is_looked_for_and_told`
//! - Turning to Retain lets go at once: `deletion::reset::turning_to_retain_while_deleting_lets_go_at_once`
//! - A session outlives its Secret, never its connection: `deletion::blocked::a_session_outlives_its_secret`,
//!   `deletion::blocked::a_missing_connection_is_told_waited_for_and_used_when_it_is_back`
//! - `CleanupBlocked`, and the end of it at its time:
//!   `deletion::blocked::a_missing_secret_blocks_and_its_return_ends_it`,
//!   `deletion::blocked::a_blocked_clean_up_is_given_up_at_its_time_whoever_restarts`,
//!   `deletion::blocked::a_block_is_given_up_without_anything_else_happening`,
//!   `deletion::cluster::a_namespace_goes_with_everything_in_it`
//! - Other trouble waits, visibly: `deletion::blocked::consent_that_was_taken_back_is_no_block`,
//!   `deletion::reset::a_graph_that_is_down_is_waited_for_also_through_a_restart`,
//!   `deletion::reset::a_refused_reset_says_why_and_how_to_let_go`
//! - The CRD is removed and put back: `deletion::cluster::a_crd_that_is_deleted_cleans_up_and_may_come_back`
//!
//! # The annotation
//! - Any new value is one pass with a fresh read, and is echoed:
//!   `sync::the_annotation_asks_for_a_pass_with_a_fresh_read`, `pace::a_request_is_one_fresh_read_and_one_status`,
//!   `pace::a_request_that_comes_during_a_pass_is_handled_after_it`,
//!   `connections::credentials::a_request_looks_at_the_secret_anew`
//! - Any new value, cut to 256 characters: `foreign::rows::any_new_value_is_a_request_also_where_its_echo_is_the_same`,
//!   `foreign::rows::what_rows_and_users_say_is_shown_clean_and_stops_nobody`
//! - It bumps no generation: `crd::documents::a_request_for_a_sync_is_no_new_generation`
//! - A request ends every backoff, but no pause that Microsoft asks for: `pace::a_request_ends_every_wait`,
//!   `pace::a_request_to_a_connection_ends_its_waits_and_its_partners`,
//!   `sessions::no_request_of_ours_ends_a_pause_that_entra_asks_for`,
//!   `connections::tenants::a_request_goes_by_a_role_that_was_granted_since`
//!
//! # Conditions
//! - `observedGeneration` on each is the generation that it was judged for:
//!   `told::each_write_of_status_tells_the_generation_that_was_seen`,
//!   `reasons::scripts::kubectl_waits_for_the_generation_that_was_edited`
//! - `lastTransitionTime` moves only with `status`: `told::each_write_of_status_tells_the_generation_that_was_seen`,
//!   `reasons::scripts::when_a_condition_turned_is_told_apart_from_when_it_was_judged`,
//!   `lib::partner::status::tests::a_transition_time_moves_with_its_status_alone`
//! - The pair is present only while true, never both: `told::each_write_of_status_tells_the_generation_that_was_seen`,
//!   `reasons::scripts::a_script_that_waits_for_trouble_sees_it`,
//!   `lib::api::reason::tests::no_row_that_is_ready_is_reconciling_or_stalled`
//! - `PartnerEnabled` from `partnerState`: `told::each_of_graphs_words_has_its_verdict`,
//!   `lib::partner::status::tests::partner_enabled_follows_graphs_word`,
//!   `lib::runtime::text::tests::a_state_word_becomes_a_reason`,
//!   `lib::runtime::text::tests::a_reason_is_one_that_kubernetes_takes`
//! - `HeartbeatFresh`, and the pass at the moment of turning stale:
//!   `faults::health::an_old_heartbeat_is_stale_and_told_once`,
//!   `faults::health::a_heartbeat_turns_stale_at_its_time_and_not_at_the_next_poll`,
//!   `metrics::flags_say_when_a_heartbeat_is_written_and_when_it_is_stale`
//! - Ready says nothing of the partner's own health: `told::each_of_graphs_words_has_its_verdict`,
//!   `faults::health::an_old_heartbeat_is_stale_and_told_once`
//! - Both keep their value while nothing could be read, Stale too:
//!   `faults::outages::an_outage_that_lasts_makes_the_verdict_unknown`,
//!   `edits::a_heartbeat_is_not_called_stale_by_somebody_who_has_not_looked`
//! - `PartnerNotFound` and `TenantChanged` remove them, and what was read with them:
//!   `faults::naming::an_object_that_is_not_there_or_goes_away_is_told`,
//!   `binding::in_another_cloud_or_tenant_all_that_status_knew_goes_and_comes_back`,
//!   `lib::partner::status::tests::what_is_gone_leaves_nothing_of_itself_but_the_binding`
//!
//! # The table of reasons
//! - Each row: conditions, message, event, kstatus, the way back:
//!   `reasons::rows::each_row_is_told_with_its_conditions_its_event_and_its_kstatus`,
//!   `reasons::rows::each_row_heals_by_itself_when_its_cause_is_gone`,
//!   `reasons::rows::an_operator_that_starts_anew_comes_to_the_same_verdicts`,
//!   `reasons::every_reason_has_a_row_and_every_row_a_reason`,
//!   `lib::partner::status::tests::table::each_reason_does_what_its_row_says`
//! - Each row: when it is tried again: `reasons::rows::each_row_is_tried_again_after_its_own_wait_and_no_other`,
//!   `reasons::rows::a_change_that_does_not_show_is_read_three_times_after_ever_longer_waits`,
//!   `reasons::the_waits_are_the_contracts`, `lib::partner::status::tests::table::waits_are_those_of_the_contract`
//! - The first row that applies wins: `reasons::precedence::what_needs_no_graph_comes_first`,
//!   `reasons::precedence::a_conflict_comes_before_all_that_the_object_itself_is`,
//!   `reasons::precedence::a_conflict_comes_before_a_refusal_to_read`,
//!   `reasons::precedence::trouble_comes_before_another_tenant`,
//!   `reasons::changes::a_refusal_comes_before_what_does_not_show`,
//!   `reasons::changes::an_unsupported_list_comes_last_but_for_what_is_only_observed`,
//!   `reasons::changes::trouble_on_the_way_comes_before_a_change_that_does_not_show`,
//!   `lib::partner::status::tests::table::reasons_take_precedence_in_the_order_of_the_rows`
//! - `Cleaning`: `deletion::reset::a_graph_that_is_down_is_waited_for_also_through_a_restart`
//! - `Suspended`: `claims::born_suspended_it_is_told_at_once_and_syncs_when_it_is_let`
//! - `ConnectionNotFound`: `faults::naming::what_is_bound_in_one_tenant_is_never_looked_for_in_another`
//! - `ConnectionNotReady`: `connections::credentials::a_secret_that_comes_late_is_found_without_an_edit`
//! - `Throttled` and `GraphUnavailable`, not applied:
//!   `faults::outages::a_pause_that_microsoft_asks_for_is_kept_by_all`,
//!   `faults::outages::a_server_in_trouble_is_waited_for`,
//!   `faults::outages::an_edit_during_an_outage_is_not_called_ready`
//! - The same, applied: `faults::outages::an_outage_leaves_what_was_applied_as_it_was_and_writes_nothing`,
//!   `faults::outages::an_outage_that_lasts_makes_the_verdict_unknown`,
//!   `reasons::outages::while_graph_is_away_each_row_is_what_the_contract_makes_of_it`,
//!   `reasons::outages::while_microsoft_asks_for_a_pause_each_row_is_what_the_contract_makes_of_it`,
//!   `reasons::outages::a_pause_of_an_hour_does_not_put_off_the_moment_of_turning_unknown`
//! - `PartnerConflict`: `claims::the_younger_one_is_told_who_holds_and_sends_nothing_ever`
//! - `TenantChanged`: `faults::naming::what_is_bound_in_one_tenant_is_never_looked_for_in_another`
//! - `PartnerNotFound`, `PartnerAmbiguous`: `faults::naming::a_name_that_nobody_or_more_than_one_has_binds_to_nothing`
//! - `PermissionDenied`: `connections::tenants::a_missing_role_is_named_and_heals_when_it_is_granted`,
//!   `faults::writes::a_refusal_in_spite_of_the_right_role_is_told_as_one`
//! - `TenantNotLicensed`: `connections::tenants::a_tenant_without_a_licence_is_told_so`
//! - `RejectedByGraph`: `faults::writes::a_change_that_graph_refuses_is_told_and_waits_for_an_edit`
//! - `Verifying`: `faults::writes::a_change_that_shows_late_is_waited_for`
//! - `UpdateIneffective`: `faults::writes::a_change_without_effect_is_sent_again_only_when_something_is_new`,
//!   `lib::partner::tests::found::a_failed_change_does_not_make_another_one_be_sent_again`,
//!   `lib::partner::tests::found::what_took_effect_unnoticed_and_was_reverted_is_drift`
//! - `UnsupportedTarget`: `faults::writes::a_list_with_an_entry_that_cannot_be_expressed_is_left_alone`
//! - `DriftDetected`, `InSync`: `sync::under_observe_drift_is_only_told`,
//!   `sync::a_partner_that_agrees_already_becomes_ready_without_a_change`
//! - "Applied" is told from Ready alone: `lib::partner::status::tests::table::applied_is_told_from_ready_alone`,
//!   `lib::partner::status::tests::rows::a_short_outage_writes_nothing_and_a_long_one_takes_the_verdict_back_once`
//! - A row with Stalled stays through transient trouble:
//!   `lib::partner::status::tests::table::a_stalled_verdict_stays_through_passing_trouble_of_its_generation_alone`
//! - The backoff: `lib::runtime::backoff::tests::doubles_to_the_cap_and_begins_anew_after_a_success`,
//!   `lib::runtime::backoff::tests::a_retry_after_above_the_cap_is_honoured`
//! - No miss is shown that the same pass has healed:
//!   `faults::outages::a_token_that_is_refused_is_replaced_once_and_nobody_sees_it`,
//!   `answers::tokens::a_claims_challenge_is_met_with_another_token_and_nobody_sees_it`,
//!   `edits::a_read_that_breaks_once_is_made_again_and_nobody_sees_it`,
//!   `pool::a_read_finds_a_connection_that_lives_or_says_so`,
//!   `pool::a_change_whose_connection_breaks_is_looked_for_and_nobody_sees_it`,
//!   `pool::a_token_request_whose_connection_breaks_is_sent_again_and_nobody_sees_it`,
//!   `binary::proxy::connections_that_were_closed_while_nobody_looked_cost_no_visible_failure`,
//!   `binary::proxy::a_connection_that_has_gone_silent_is_left_within_one_request`
//! - Which answers are trouble, and which a refusal: `edits::what_passes_is_tried_again_and_what_does_not_is_told`,
//!   `answers::lists::each_answer_to_the_list_is_told_by_its_connection_and_heals`,
//!   `answers::changes::each_refusal_of_a_change_is_told_by_its_partner_and_the_rest_goes_on`,
//!   `lib::refusal_tests::each_refusal_of_graph_has_its_reason_and_its_wait`,
//!   `lib::graph::error::tests::every_status_has_its_kind`
//! - Timeouts, resets, undecodable bodies: `faults::outages::a_connection_that_breaks_is_made_again`,
//!   `faults::outages::a_graph_that_hangs_is_not_waited_for_forever`,
//!   `faults::outages::a_page_in_the_place_of_an_answer_is_no_answer`,
//!   `sessions::a_collection_that_takes_too_long_to_list_is_told_as_an_outage`
//! - A list without `value`, a row whose boolean is missing:
//!   `told::no_shape_of_an_answer_without_a_list_is_an_empty_tenant`,
//!   `faults::outages::a_list_without_rows_to_tell_of_is_no_proof_that_there_are_none`,
//!   `faults::outages::a_row_that_cannot_be_read_costs_nobody_but_itself`,
//!   `told::an_odd_row_is_listed_and_its_neighbours_sync`,
//!   `pages::half_a_listing_is_none`, `pages::an_object_may_come_wrapped_as_the_reference_shows_it`
//! - Pages: `pages::fifty_pages_are_read_and_more_than_a_hundred_are_not`,
//!   `pages::pages_may_be_empty_and_must_not_lead_in_a_circle`
//! - Those that look at once share one listing: `pages::many_that_are_looked_for_by_name_share_one_listing`
//! - A missing list is empty: `told::no_list_is_an_empty_one_and_an_absent_one_is_not_compared`,
//!   `lib::graph::model::decode::tests::assignments::an_empty_a_null_and_a_missing_list_are_the_same`
//! - Retry-After: `lib::graph::error::wait::tests::seconds_are_honoured_whole_and_rounded_up`,
//!   `lib::graph::error::wait::tests::a_date_is_by_the_clock_of_the_answer_and_not_by_ours`,
//!   `pauses::each_shape_of_a_pause_is_kept_or_passed_over_by_http_2`,
//!   `pauses::each_shape_of_a_pause_is_kept_or_passed_over_by_http_1`,
//!   `pauses::a_long_pause_is_kept_whole_by_all_of_an_app_in_a_tenant_and_never_shown`,
//!   `lib::graph::throttle::ledger::tests::a_close_lasts_an_hour_at_most_and_is_never_shortened`,
//!   `sessions::a_pause_is_kept_by_all_connections_of_an_app_and_by_no_other`,
//!   `lib::graph::session::tests::who_is_told_of_a_failure_again_looks_when_the_pause_is_over`
//! - Any 2xx is success, and a lost answer is looked for: `faults::writes::a_change_may_be_answered_without_a_body`,
//!   `faults::writes::a_change_whose_answer_is_lost_is_not_sent_twice`,
//!   `pool::a_change_whose_connection_breaks_each_time_is_told_and_never_sent_without_a_look`,
//!   `pages::a_success_with_an_error_in_it_is_none_and_is_looked_after`
//! - The column of Argo CD: –
//!
//! # Messages and events
//! - Messages are stable: `told::a_refusal_that_differs_in_ids_and_builds_alone_is_told_once`,
//!   `lib::graph::error::tests::the_months_build_of_the_service_changes_no_message`,
//!   `lib::graph::error::tests::the_ids_of_an_answer_are_in_no_message`
//! - What they leave out is in the log: `answers::the_ids_that_microsofts_support_asks_for_are_in_the_log_and_nowhere_else`
//! - Never a secret or a token: `binary::secrets::no_secret_and_no_token_is_told_anywhere_at_the_most_talkative_level`,
//!   `foreign::refusals::a_token_that_looks_like_any_word_is_not_repeated`,
//!   `reasons::connections::no_message_of_a_connection_holds_its_secret`
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
//!   `weather::whatever_happens_it_ends_well`,
//!   `shared_status::a_condition_of_another_controller_stays_and_costs_no_write`,
//!   `foreign::rows::what_somebody_else_wrote_into_status_does_not_stop_its_writes`,
//!   `schemas::an_older_crd_is_told_and_causes_no_write_loop`
//! - `PermissionDenied` compares with the token's roles:
//!   `connections::tenants::a_missing_role_is_named_and_heals_when_it_is_granted`,
//!   `faults::writes::a_refusal_in_spite_of_the_right_role_is_told_as_one`,
//!   `answers::tokens::a_role_that_is_taken_away_and_granted_again_heals_without_an_edit`,
//!   `connections::tenants::a_connection_that_only_reads_needs_no_more_and_changes_nothing`,
//!   `lib::refusal_tests::who_lacks_a_role_is_told_which_and_who_has_it_is_not_sent_for_another`
//! - Events, on change only: `metrics::events_tell_changes_alone`,
//!   `contest::three_corrections_of_one_field_are_told_as_a_contest`,
//!   `edits::each_of_forty_that_fail_together_is_told_of`, `lib::partner::report::tests::each_change_is_told_once`,
//!   `lib::partner::report::tests::an_update_names_its_fields_and_its_cause`,
//!   `lib::partner::report::tests::ready_is_told_when_it_turns_false_and_with_its_reason`
//! - Refused events stop nothing: `metrics::an_event_that_is_refused_stops_nothing_and_is_counted`
//! - What is gone meanwhile is no error: `edits::what_goes_while_it_is_looked_at_is_no_trouble`
//!
//! # GraphConnection
//! - Columns, the default of status, the annotation, the Warning: as for the partner
//! - The echo of the annotation, and its own generation:
//!   `sessions::a_request_is_one_look_at_the_secret_and_is_echoed_once`,
//!   `sessions::an_edit_of_a_connection_is_judged_for_its_own_generation`
//! - Exactly one key in `auth`; `clientId` but for `managedIdentity`; names are DNS subdomains:
//!   `crd::rules::every_rule_takes_what_is_within_and_names_itself_where_it_refuses`,
//!   `crd::immutable::the_way_of_proof_can_change_by_every_way_of_writing`
//! - `tenantId` and `cloud` are immutable, absent equals Global: `crd::immutable::a_tenant_cannot_change`,
//!   `crd::immutable::a_cloud_that_is_left_out_is_global`,
//!   `crd::immutable::neither_apply_can_change_a_tenant_or_a_cloud`
//! - `key` absent, and a key of one's own:
//!   `connections::credentials::a_secret_that_comes_late_is_found_without_an_edit`,
//!   `connections::credentials::a_secret_under_a_key_of_ones_own_with_a_line_end_is_used`
//! - `roles` and `partners`: `connections::tenants::a_token_that_tells_nothing_works_as_well`,
//!   `connections::tenants::all_pages_of_the_collection_are_read`,
//!   `connections::tenants::what_status_lists_of_the_collection_is_unique_and_bounded`,
//!   `sessions::what_status_lists_follows_the_tenant`
//! - A connection without partners lists once each `--sync-interval`:
//!   `pace::each_resource_is_polled_at_its_own_interval_and_a_shorter_one_counts_at_once`
//! - Each reason: `reasons::connections::each_reason_of_a_connection_is_told_there_and_by_its_partner`,
//!   `reasons::connections::each_reason_of_a_connection_is_tried_again_after_its_own_wait`
//! - `SecretNotFound`: `connections::credentials::a_secret_that_comes_late_is_found_without_an_edit`,
//!   `sessions::each_exchange_reads_the_secret_as_it_is_then`
//! - `SecretInvalid`: `connections::credentials::a_secret_that_cannot_be_one_is_told_before_any_request`,
//!   `lib::credentials::tests::what_cannot_be_a_client_secret_is_refused_before_any_request`
//! - `AccessNotGranted`: `connections::credentials::without_consent_the_message_has_the_lines_that_give_it`
//! - `CredentialsRejected`: `connections::credentials::a_wrong_secret_is_one_token_request_for_fifty_partners`,
//!   `connections::tenants::a_tenant_that_does_not_exist_is_told_with_what_to_check`,
//!   `reasons::connections::a_refused_credential_is_sent_again_after_its_backoff_alone`,
//!   `lib::graph::error::token::tests::known_codes_get_advice_of_their_own`,
//!   `lib::graph::error::token::tests::other_codes_show_the_word_and_the_number_alone`,
//!   `answers::tokens::each_refusal_of_entra_is_told_with_its_advice_and_remembered`,
//!   `lib::refusal_tests::each_code_of_entra_has_its_reason_and_its_wait`
//! - 50196 is Throttled: `lib::graph::error::token::tests::a_loop_is_throttling_and_no_bad_credential`,
//!   `answers::tokens::where_entra_says_that_we_loop_many_resources_ask_once_a_slow_retry`
//! - `PrincipalNotFound`: `connections::tenants::a_service_principal_that_is_not_known_yet_heals_by_itself`
//! - `TenantMismatch`: `connections::tenants::a_token_of_another_tenant_is_never_used`
//! - `Throttled` and `GraphUnavailable`: `faults::outages::an_entra_that_is_away_is_no_refusal`,
//!   `reasons::connections::while_graph_is_away_a_connection_is_what_the_contract_makes_of_it`,
//!   `reasons::connections::while_microsoft_asks_for_a_pause_a_connection_is_what_the_contract_makes_of_it`,
//!   `reasons::connections::a_verdict_of_a_connection_that_is_stalled_stays_through_an_outage_of_entra`
//! - `clientCertificate`: `auth::certificate::a_certificate_signs_in_by_either_form_of_its_key_wherever_it_stands`,
//!   `auth::certificate::what_is_no_certificate_with_its_key_is_told_before_any_request`,
//!   `auth::certificate::a_certificate_that_entra_does_not_know_is_told_with_what_to_do`,
//!   `auth::certificate::a_clock_that_differs_from_entras_is_told_and_heals`,
//!   `lib::graph::certificate::tests::what_entra_could_not_take_is_refused_with_its_own_word`
//! - `workloadIdentity`: `auth::workload::a_service_account_signs_in_with_a_token_made_for_each_exchange`,
//!   `auth::workload::what_entra_holds_against_a_federated_token_is_told_with_what_to_do`,
//!   `auth::workload::an_assertion_that_came_too_late_is_followed_by_a_new_one_at_once`
//! - `ServiceAccountNotFound`, `ServiceAccountInvalid` and consent to an account:
//!   `auth::workload::an_account_that_is_missing_or_of_another_app_is_told_and_heals`,
//!   `auth::workload::without_consent_the_message_has_the_two_lines_that_give_it`,
//!   `auth::workload::half_a_consent_is_told_too`,
//!   `auth::workload::a_clean_up_without_its_account_is_blocked_and_goes_on_when_it_is_back`
//! - `operatorIdentity`: `auth::operator_token::the_operators_own_token_is_read_anew_at_each_exchange`
//! - `IdentityNotAllowed` and `--operator-identity-namespaces`:
//!   `auth::operator_token::the_operators_and_its_nodes_identity_are_for_the_namespaces_that_it_was_started_with`,
//!   `auth::operator_token::the_program_finds_its_token_and_its_own_namespace_by_itself`
//! - `managedIdentity`: `auth::managed::the_nodes_identity_signs_in_by_its_client_id_or_as_the_systems`,
//!   `auth::managed::whatever_the_metadata_service_answers_has_its_reason_and_heals`,
//!   `auth::managed::an_identity_that_the_node_has_not_is_told_and_found_when_it_is_assigned`,
//!   `auth::managed::the_metadata_service_is_never_asked_by_a_proxy`
//! - All five in each of the four clouds: `auth::clouds::all_five_kinds_work_in_the_worldwide_cloud`,
//!   `auth::clouds::all_five_kinds_work_in_the_us_governments_cloud`,
//!   `auth::clouds::all_five_kinds_work_in_the_department_of_defenses_cloud`,
//!   `auth::clouds::all_five_kinds_work_in_the_cloud_of_china`
//! - What is rotated is seen by nobody: `auth::rotation::no_sync_fails_while_secrets_certificates_and_tokens_are_rotated`
//! - Consent by RBAC: `roles::view_reads_edit_writes_partners_and_only_admin_writes_connections`,
//!   `kubectl::the_examples_are_applied_waited_for_and_shown`, `sessions::no_other_secret_is_read_or_can_be`
//! - References have no namespace: `crd::writing::a_reference_takes_no_namespace`,
//!   `manifests::a_reference_to_another_namespace_is_read_in_ones_own`
//! - A session is keyed by uid and spec, and by the Secret:
//!   `sessions::an_edit_or_a_new_connection_begins_a_session_of_its_own`,
//!   `connections::credentials::a_request_looks_at_the_secret_anew`
//! - A token serves nobody but the connection that got it:
//!   `sessions::a_token_serves_nobody_but_the_connection_that_got_it`,
//!   `neighbours::a_namespace_with_the_same_ids_and_a_wrong_secret_sees_nothing`
//! - A tenant that hangs delays nobody else:
//!   `neighbours::tenants_that_accept_and_never_answer_delay_no_edit_of_another_one`,
//!   `many::a_hanging_tenant_with_many_connections_delays_no_edit_of_another_one`
//! - Connections to Microsoft are used again: `pool::connections_are_used_again_whatever_http_is_offered`
//! - Only the rate budget is shared: `sessions::a_pause_is_kept_by_all_connections_of_an_app_and_by_no_other`,
//!   `budgets::a_limit_that_is_reached_is_waited_for_by_all_connections_of_the_app_and_told_by_none`
//! - When a Secret is read, and when a token is asked for: `sessions::each_exchange_reads_the_secret_as_it_is_then`,
//!   `sessions::the_secret_is_looked_at_for_as_long_as_it_can_mend_something`,
//!   `sessions::while_connected_nobody_looks_at_the_secret_and_it_may_even_go`,
//!   `sessions::a_refused_secret_is_tried_again_after_its_backoff_alone`
//! - One trailing line end is cut: `lib::credentials::tests::one_trailing_line_end_is_cut_and_nothing_else`
//! - One token request at a time, and a refusal is remembered:
//!   `sessions::one_token_is_asked_for_at_a_time_however_many_want_it`,
//!   `connections::credentials::a_wrong_secret_is_one_token_request_for_fifty_partners`
//! - One fresh token, however many ask: `many::a_token_that_graph_refuses_although_it_is_fresh_is_not_replaced_for_each_resource`
//! - One fresh token is one that was not refused: `sessions::a_refusal_of_two_tokens_running_is_told_and_not_repeated`,
//!   `faults::outages::a_token_that_is_refused_is_replaced_once_and_nobody_sees_it`
//! - `cloud` alone picks the addresses: `hosts::the_environment_names_no_host_and_no_credential`,
//!   `lib::graph::cloud::tests::each_cloud_has_its_own_authority_scope_and_audience`,
//!   `lib::graph::cloud::tests::every_address_is_a_plain_https_origin`
//! - A link or a redirect to another host is not followed, segments of a path are encoded:
//!   `hosts::a_token_goes_to_no_other_host`, `hosts::an_id_of_graphs_own_is_one_segment_of_the_path`
//! - The roles view, edit and admin: `roles::view_reads_edit_writes_partners_and_only_admin_writes_connections`
//!
//! # Names that users script against
//! - Field manager: `told::each_write_of_status_tells_the_generation_that_was_seen`
//! - The program, its flags and its ports: `binary::synced::the_program_syncs_and_tells_how_it_is`,
//!   `binary::synced::a_wrong_flag_is_named_and_ends_the_program_with_two`,
//!   `binary::synced::a_graph_that_is_down_fails_no_probe`, `lib::options::tests::durations_are_read_in_go_style`
//! - `HTTPS_PROXY` and `NO_PROXY`: `binary::proxy::microsoft_is_reached_by_the_proxy_and_the_api_server_never_is`,
//!   `binary::proxy::what_no_proxy_names_is_reached_without_it`,
//!   `binary::proxy::a_proxy_that_wants_other_credentials_is_told_and_waited_for`
//! - `@odata.type` on root, assignment and target, `client-request-id`, a User-Agent:
//!   `told::drift_tells_each_field_in_its_own_form_and_enforce_sends_just_that`,
//!   `lib::graph::model::patch::tests::every_assignment_and_target_carries_its_type`
//! - Metrics: `metrics::a_resources_series_follow_its_status_and_vanish_with_it`,
//!   `metrics::what_is_asked_of_microsoft_and_of_kubernetes_is_counted`,
//!   `metrics::an_event_that_is_refused_stops_nothing_and_is_counted`,
//!   `readme::the_metrics_of_the_readme_are_those_that_are_served`
//!
//! # What users read
//! - `kubectl explain`: `crd::explain::kubectl_explain_describes_every_field`,
//!   `crd::explain::kubectl_explain_tells_each_field_of_spec_by_its_path`,
//!   `crd::explain::kubectl_explain_lists_both_kinds_whole`
//! - The reference of fields and reasons: `lib::api::tests::reference::the_reference_is_what_the_code_says`
//! - README's documents and tables: `crd::documents::the_documents_of_the_readme_are_taken`,
//!   `lib::api::tests::reference::readme::every_reason_has_its_row_with_what_to_do`,
//!   `lib::api::tests::reference::readme::the_reasons_that_a_connection_shares_are_reasons`,
//!   `lib::api::tests::reference::readme::the_waits_of_reasons_are_told_as_they_are`,
//!   `lib::api::tests::reference::readme::every_condition_has_its_row`,
//!   `lib::api::tests::reference::readme::every_reason_of_the_partners_own_conditions_has_its_row`,
//!   `lib::api::tests::reference::readme::every_event_is_told`,
//!   `lib::api::tests::reference::readme::every_flag_has_its_row_with_its_default`,
//!   `lib::api::tests::reference::readme::every_cloud_has_its_row_with_its_hosts`

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
