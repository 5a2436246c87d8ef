/* The SIP endpoint: how digits leave a session. */
#include "host.h"

#include <string.h>
#include <strings.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static switch_endpoint_interface_t sofia;

/* The digits stay on the channel, where a test can look. By SIP INFO, a pause is slept through. */
static switch_status_t send_dtmf(switch_core_session_t *session, const switch_dtmf_t *dtmf)
{
	switch_channel_t *channel = session->channel;
	switch_core_media_check_dtmf_type(session);
	if (session->media_params.dtmf_type == DTMF_INFO && (dtmf->digit == 'w' || dtmf->digit == 'W')) {
		sleep_until_ns(now_ns() + (dtmf->digit == 'w' ? 500000000 : 1000000000));
		return SWITCH_STATUS_SUCCESS;
	}
	if (switch_channel_get_variable_dup(channel, "host_refuses_dtmf", SWITCH_FALSE, -1)) {
		return SWITCH_STATUS_FALSE;
	}
	const char *before = switch_channel_get_variable_dup(channel, "host_sent_dtmf", SWITCH_FALSE, -1);
	char digits[128] = "";
	strncat(digits, before ? before : "", sizeof(digits) - 2);
	strncat(digits, &dtmf->digit, 1);
	return switch_channel_set_variable_var_check(channel, "host_sent_dtmf", digits, SWITCH_FALSE);
}

static switch_io_routines_t routines = {.send_dtmf = send_dtmf};

static void make_sofia(void)
{
	/* Kept, since the endpoint is. */
	static switch_memory_pool_t *pool;
	pool = pool_new();
	sofia.interface_name = "sofia";
	sofia.io_routines = &routines;
	/* FreeSWITCH's is a table in the endpoint's module; all that is asked of it is where it lies. */
	sofia.state_handler = (struct switch_state_handler_table *)&routines;
	sofia.rwlock = rwlock_new(pool);
	sofia.reflock = mutex_new(pool);
	sofia.parent = pool_alloc(pool, sizeof(*sofia.parent));
	sofia.parent->rwlock = rwlock_new(pool);
}

switch_endpoint_interface_t *switch_loadable_module_get_endpoint_interface(const char *name)
{
	pthread_once(&once, make_sofia);
	if (strcmp(name, sofia.interface_name)) {
		return NULL;
	}
	switch_thread_rwlock_rdlock(sofia.parent->rwlock);
	switch_thread_rwlock_rdlock(sofia.rwlock);
	mutex_lock(sofia.reflock);
	sofia.refs++;
	sofia.parent->refs++;
	mutex_unlock(sofia.reflock);
	return &sofia;
}

switch_status_t endpoint_send_dtmf(switch_core_session_t *session, const switch_dtmf_t *dtmf)
{
	pthread_once(&once, make_sofia);
	switch_io_routines_t *in_force = __atomic_load_n(&sofia.io_routines, __ATOMIC_ACQUIRE);
	return in_force->send_dtmf(session, dtmf);
}

switch_media_handle_t *switch_core_session_get_media_handle(switch_core_session_t *session)
{
	return (switch_media_handle_t *)session;
}

switch_core_media_params_t *switch_core_media_get_mparams(switch_media_handle_t *smh)
{
	return &((switch_core_session_t *)smh)->media_params;
}

void switch_core_media_check_dtmf_type(switch_core_session_t *session)
{
	const char *type = switch_channel_get_variable_dup(session->channel, "dtmf_type", SWITCH_FALSE, -1);
	if (type && !strcasecmp(type, "rfc2833")) {
		session->media_params.dtmf_type = DTMF_2833;
	} else if (type && !strcasecmp(type, "info")) {
		session->media_params.dtmf_type = DTMF_INFO;
	} else if (type && !strcasecmp(type, "none")) {
		session->media_params.dtmf_type = DTMF_NONE;
	}
}
