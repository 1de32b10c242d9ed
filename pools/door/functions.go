package door

import "strings"

// function is what is known of a name before a parenthesis.
type function uint8

const (
	// construct: a keyword, and no function.
	construct function = iota + 1
	// afterParenthesis: a keyword after a ), as in count(*) OVER (...); otherwise it may be a
	// function.
	afterParenthesis
	// harmless: it leaves nothing in the session that matters.
	harmless
	specials = harmless
	// The rest leaves something, or takes it away.
	locks      = iota + 1
	unlocks    // advisory locks of the session
	setsConfig // set_config
	replicates // it makes temporary slots or an origin, which a reset leaves
)

// functions are those of pg_catalog that are used most, and the keywords that a
// parenthesis may follow. What runs a query that it is given as text (query_to_xml,
// ts_stat, ...) is not one of them. Sequences count as harmless: currval of a session that
// somebody else had is as good as none. Names that an application may well give to a
// function of its own (area, strip, ...) are left out.
var functions = func() map[string]function {
	known := make(map[string]function)
	for what, names := range map[function]string{
		construct: constructs, afterParenthesis: "over filter", harmless: harmlessOnes,
		locks:      "pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared",
		unlocks:    "pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all",
		setsConfig: "set_config",
		replicates: "pg_create_logical_replication_slot pg_create_physical_replication_slot " +
			"pg_copy_logical_replication_slot pg_copy_physical_replication_slot pg_replication_origin_session_setup",
	} {
		for name := range strings.FieldsSeq(names) {
			known[name] = what
		}
	}
	return known
}()

const constructs = `
all analyze and any array as asc asymmetric between binary both by case cast check coalesce collate conflict
cross cube current_schema current_time current_timestamp default desc distinct do else end escape
except exclude exists extract fetch for foreign from full generated greatest group grouping having
identity ilike in include inner insert intersect interval into is isnull join key lateral leading
least left like limit list localtime localtimestamp materialized natural normalize not notnull
nullif of offset on only operator or order outer overlaps overlay placing position primary range
references returning right rollup row rows select set sets setof similar some substring symmetric
table then to trailing treat trim truncate unique using values when where window with within
xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot
xmlserialize xmltable zone`

const harmlessOnes = `
bigint bit bool boolean bpchar bytea char character cidr date dec decimal double float float4
float8 inet int int2 int4 int8 integer json jsonb macaddr money national nchar numeric oid
real regclass regproc regtype smallint text time timestamp timestamptz timetz tsquery tsvector
uuid varbit varchar varying xml bernoulli system

abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd cosh
cot cotd degrees div erf erfc exp factorial floor gcd lcm ln log log10 min_scale mod pi pow power
radians random random_normal round scale setseed sign sin sind sinh sqrt tan tand tanh trim_scale
trunc width_bucket numeric_inc

ascii bit_count bit_length btrim char_length character_length chr concat concat_ws convert
convert_from convert_to decode encode format get_bit get_byte initcap length lower lpad ltrim md5
octet_length parse_ident pg_client_encoding quote_ident quote_literal quote_nullable regexp_count
regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
regexp_split_to_table regexp_substr repeat replace reverse rpad rtrim set_bit set_byte sha224 sha256
sha384 sha512 split_part starts_with string_to_array string_to_table strpos substr to_ascii to_bin
to_hex to_oct translate unistr upper unicode_version crc32 crc32c

age clock_timestamp date_add date_bin date_part date_subtract date_trunc isfinite justify_days
justify_hours justify_interval make_date make_interval make_time make_timestamp make_timestamptz now
statement_timestamp timeofday timezone to_char to_date to_number to_timestamp transaction_timestamp

array_agg avg bit_and bit_or bit_xor bool_and bool_or count every json_agg json_object_agg jsonb_agg
jsonb_object_agg max min range_agg range_intersect_agg string_agg sum xmlagg corr covar_pop
covar_samp regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
regr_syy stddev stddev_pop stddev_samp variance var_pop var_samp mode percentile_cont
percentile_disc any_value
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number

array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
array_positions array_prepend array_remove array_replace array_reverse array_sample array_shuffle
array_sort array_to_string array_upper cardinality generate_series generate_subscripts trim_array
unnest

array_to_json json_array_elements json_array_elements_text json_array_length json_build_array
json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object
json_object_keys json_populate_record json_populate_recordset json_strip_nulls json_to_record
json_to_recordset json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length
jsonb_build_array jsonb_build_object jsonb_concat jsonb_contains jsonb_delete jsonb_delete_path
jsonb_each jsonb_each_text jsonb_exists jsonb_extract_path jsonb_extract_path_text jsonb_insert
jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
jsonb_path_query_array jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset
jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset
jsonb_typeof row_to_json to_json to_jsonb

daterange datemultirange int4range int4multirange int8range int8multirange isempty lower_inc
lower_inf multirange numrange nummultirange range_merge tsrange tsmultirange tstzrange
tstzmultirange upper_inc upper_inf

array_to_tsvector numnode phraseto_tsquery plainto_tsquery setweight to_tsquery to_tsvector
ts_delete ts_filter ts_headline ts_rank ts_rank_cd tsquery_phrase tsvector_to_array
websearch_to_tsquery

host hostmask inet_client_addr inet_client_port inet_merge
inet_same_family inet_server_addr inet_server_port masklen netmask set_masklen

currval lastval nextval setval
gen_random_uuid uuidv4 uuidv7 uuid_extract_timestamp uuid_extract_version

col_description current_database current_query current_schemas current_setting
format_type has_any_column_privilege has_column_privilege has_database_privilege
has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege
has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege
has_tablespace_privilege has_type_privilege obj_description pg_backend_pid pg_blocking_pids
pg_cancel_backend pg_collation_for pg_collation_is_visible pg_column_compression pg_column_size
pg_conf_load_time pg_conversion_is_visible pg_current_logfile pg_current_snapshot pg_current_wal_lsn
pg_current_xact_id pg_current_xact_id_if_assigned pg_database_size pg_describe_object
pg_encoding_to_char pg_filenode_relation pg_function_is_visible pg_get_constraintdef
pg_get_function_arguments pg_get_function_identity_arguments pg_get_function_result
pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords pg_get_partition_constraintdef
pg_get_partkeydef pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef pg_get_triggerdef
pg_get_userbyid pg_has_role pg_index_column_has_property pg_indexes_size pg_is_in_recovery
pg_is_other_temp_schema pg_jit_available pg_last_wal_receive_lsn pg_last_wal_replay_lsn
pg_last_xact_replay_timestamp pg_listening_channels pg_lock_status pg_my_temp_schema
pg_notification_queue_usage pg_notify pg_opclass_is_visible pg_operator_is_visible
pg_opfamily_is_visible pg_postmaster_start_time pg_relation_filenode pg_relation_filepath
pg_relation_is_publishable pg_relation_size pg_reload_conf pg_safe_snapshot_blocking_pids
pg_sequence_last_value pg_size_bytes pg_size_pretty pg_sleep pg_sleep_for pg_sleep_until
pg_snapshot_xmax pg_snapshot_xmin pg_stat_get_activity pg_stat_get_progress_info pg_table_is_visible
pg_table_size pg_tablespace_location pg_tablespace_size pg_terminate_backend pg_total_relation_size
pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_advisory_xact_lock
pg_advisory_xact_lock_shared pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
pg_ts_template_is_visible pg_type_is_visible pg_typeof pg_visible_in_snapshot pg_wal_lsn_diff
pg_xact_commit_timestamp pg_xact_status row_security_active shobj_description to_regclass
to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole
to_regtype txid_current txid_current_if_assigned txid_current_snapshot txid_status version
aclexplode pg_identify_object pg_options_to_table pg_partition_ancestors pg_partition_root
pg_partition_tree pg_sequence_parameters pg_char_to_encoding pg_tablespace_databases
pg_prepared_statement pg_prepared_xact pg_cursor pg_show_all_settings pg_timezone_abbrevs
pg_timezone_names pg_stat_get_backend_pid pg_stat_get_numscans pg_get_expr`
