/* Sessions and channels: looking one up, its state, flags and variables, and its end. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static switch_core_session_t *table;

switch_core_session_t *session_create(const char *uuid, struct host_call *call)
{
	switch_memory_pool_t *pool = pool_new();
	switch_core_session_t *session = pool_alloc(pool, sizeof(*session));
	switch_channel_t *channel = pool_alloc(pool, sizeof(*channel));
	char name[128];
	snprintf(name, sizeof(name), "standin/%.100s", uuid);
	session->pool = pool;
	session->uuid = pool_strdup(pool, uuid);
	session->channel = channel;
	session->call = call;
	session->rwlock = rwlock_new(pool);
	pthread_rwlock_init(&session->bug_rwlock, NULL);
	pthread_mutex_init(&session->impl_mutex, NULL);
	pthread_mutex_init(&session->hook_mutex, NULL);
	session->codec_read_mutex = mutex_new(pool);
	session->codec_write_mutex = mutex_new(pool);
	session->media_params.dtmf_type = DTMF_2833;
	session->media_params.dtmf_delay = 40;
	channel->session = session;
	channel->uuid = session->uuid;
	channel->name = pool_strdup(pool, name);
	channel->profile_mutex = mutex_new(pool);
	channel->dtmf_mutex = mutex_new(pool);
	atomic_init(&channel->state, CS_EXECUTE);
	switch_event_create_subclass_detailed(NULL, NULL, 0, &channel->variables, SWITCH_EVENT_CLONE, NULL);
	pthread_mutex_lock(&table_mutex);
	session->next = table;
	table = session;
	pthread_mutex_unlock(&table_mutex);
	return session;
}

void session_destroy(switch_core_session_t *session)
{
	rwlock_wrlock(session->rwlock);
	session->destroyed = true;
	switch_thread_rwlock_unlock(session->rwlock);
	bugs_remove_all(session);
	pthread_mutex_lock(&table_mutex);
	switch_core_session_t **place = &table;
	while (*place != session) {
		place = &(*place)->next;
	}
	*place = session->next;
	pthread_mutex_unlock(&table_mutex);
	pthread_rwlock_destroy(&session->bug_rwlock);
	pthread_mutex_destroy(&session->impl_mutex);
	pthread_mutex_destroy(&session->hook_mutex);
	buffer_free(&session->raw_write_buffer);
	buffer_free(&session->channel->digits);
	switch_event_destroy(&session->channel->variables);
	pool_free(session->pool);
}

switch_core_session_t *switch_core_session_perform_locate(const char *uuid_str, const char *file, const char *func,
														  int line)
{
	(void)file, (void)func, (void)line;
	switch_core_session_t *session = NULL;
	if (uuid_str) {
		pthread_mutex_lock(&table_mutex);
		session = table;
		while (session && strcmp(session->uuid, uuid_str)) {
			session = session->next;
		}
		if (session && switch_core_session_read_lock(session) != SWITCH_STATUS_SUCCESS) {
			session = NULL;
		}
		pthread_mutex_unlock(&table_mutex);
	}
	return session;
}

switch_status_t switch_core_session_read_lock(switch_core_session_t *session)
{
	if (switch_thread_rwlock_tryrdlock(session->rwlock) != SWITCH_STATUS_SUCCESS) {
		return SWITCH_STATUS_FALSE;
	}
	if (session->destroyed || channel_down(session->channel)) {
		switch_thread_rwlock_unlock(session->rwlock);
		return SWITCH_STATUS_FALSE;
	}
	return SWITCH_STATUS_SUCCESS;
}

void switch_core_session_rwunlock(switch_core_session_t *session)
{
	switch_thread_rwlock_unlock(session->rwlock);
}

switch_channel_t *switch_core_session_get_channel(switch_core_session_t *session)
{
	return session->channel;
}

char *switch_core_session_get_uuid(switch_core_session_t *session)
{
	return session->uuid;
}

switch_memory_pool_t *switch_core_session_get_pool(switch_core_session_t *session)
{
	return session->pool;
}

void *switch_core_perform_session_alloc(switch_core_session_t *session, switch_size_t memory, const char *file,
										const char *func, int line)
{
	(void)file, (void)func, (void)line;
	return pool_alloc(session->pool, memory);
}

struct hook *hook_after(switch_core_session_t *session, struct hook **place)
{
	pthread_mutex_lock(&session->hook_mutex);
	struct hook *hook = *place;
	pthread_mutex_unlock(&session->hook_mutex);
	return hook;
}

/* Appends `added`, unless it is there. */
static switch_status_t add_hook(switch_core_session_t *session, struct hook **place, struct hook added)
{
	switch_status_t status = SWITCH_STATUS_SUCCESS;
	pthread_mutex_lock(&session->hook_mutex);
	while (*place && status == SWITCH_STATUS_SUCCESS) {
		if (!memcmp(&(*place)->function, &added.function, sizeof(added.function))) {
			status = SWITCH_STATUS_FALSE;
		}
		place = &(*place)->next;
	}
	if (status == SWITCH_STATUS_SUCCESS) {
		*place = pool_alloc(session->pool, sizeof(added));
		**place = added;
	}
	pthread_mutex_unlock(&session->hook_mutex);
	return status;
}

switch_status_t switch_core_event_hook_add_recv_dtmf(switch_core_session_t *session, switch_recv_dtmf_hook_t recv_dtmf)
{
	return add_hook(session, &session->recv_dtmf_hooks, (struct hook){.function.recv_dtmf = recv_dtmf});
}

switch_status_t switch_core_event_hook_add_read_frame(switch_core_session_t *session, switch_read_frame_hook_t read_frame)
{
	return add_hook(session, &session->read_frame_hooks, (struct hook){.function.read_frame = read_frame});
}

/* Events queued for a session come from broadcasts and transfers, which the stand-in has none of. */
switch_status_t switch_ivr_parse_all_events(switch_core_session_t *session)
{
	(void)session;
	return SWITCH_STATUS_SUCCESS;
}

bool channel_down(switch_channel_t *channel)
{
	return channel->state >= CS_HANGUP;
}

void channel_hangup(switch_channel_t *channel, int cause)
{
	int none = 0;
	if (atomic_compare_exchange_strong(&channel->hangup_cause, &none, cause)) {
		channel->state = CS_HANGUP;
		endpoint_wake(channel->session);
	}
}

void channel_set_flag(switch_channel_t *channel, int flag, bool value)
{
	channel->flags[flag] = value;
}

static const char *variable(switch_channel_t *channel, const char *name)
{
	return switch_event_get_header_idx(channel->variables, name, -1);
}

const char *switch_channel_get_variable_dup(switch_channel_t *channel, const char *varname, switch_bool_t dup, int idx)
{
	if (!varname || !*varname || idx > 0) {
		return NULL;
	}
	mutex_lock(channel->profile_mutex);
	const char *value = variable(channel, varname);
	if (value && dup) {
		value = pool_strdup(channel->session->pool, value);
	} else if (!value) {
		char *global = switch_core_get_variable_dup(varname);
		value = pool_strdup(channel->session->pool, global);
		free(global);
	}
	mutex_unlock(channel->profile_mutex);
	return value;
}

/* Whether FreeSWITCH would expand something in the value when it is used. */
static bool would_expand(const char *value)
{
	bool dollar = false;
	for (; *value; value++) {
		if (*value == '$') {
			dollar = true;
		} else if (dollar && *value == '{') {
			return true;
		} else if (*value != '\\') {
			dollar = false;
		}
	}
	return false;
}

switch_status_t switch_channel_set_variable_var_check(switch_channel_t *channel, const char *varname,
													  const char *value, switch_bool_t var_check)
{
	switch_status_t status = SWITCH_STATUS_FALSE;
	if (!varname || !*varname) {
		return status;
	}
	mutex_lock(channel->profile_mutex);
	if (!value || !*value || !var_check || !would_expand(value)) {
		for (struct event_header **place = &channel->variables->headers; *place;) {
			struct event_header *header = *place;
			if (strcmp(header->name, varname)) {
				place = &header->next;
				continue;
			}
			*place = header->next;
			free(header->name);
			free(header->value);
			free(header);
		}
		if (value && *value) {
			switch_event_add_header_string(channel->variables, SWITCH_STACK_BOTTOM, varname, value);
		}
		status = SWITCH_STATUS_SUCCESS;
	} else {
		switch_log_printf(SWITCH_CHANNEL_ID_LOG, __FILE__, __func__, __LINE__, channel->uuid, SWITCH_LOG_CRIT,
						  "Invalid data (${%s} contains a variable)\n", varname);
	}
	mutex_unlock(channel->profile_mutex);
	return status;
}

switch_status_t switch_channel_set_private(switch_channel_t *channel, const char *key, const void *private_info)
{
	mutex_lock(channel->profile_mutex);
	struct channel_private *found = channel->privates;
	while (found && strcmp(found->key, key)) {
		found = found->next;
	}
	if (!found) {
		found = pool_alloc(channel->session->pool, sizeof(*found));
		found->key = pool_strdup(channel->session->pool, key);
		found->next = channel->privates;
		channel->privates = found;
	}
	found->pointer = private_info;
	mutex_unlock(channel->profile_mutex);
	return SWITCH_STATUS_SUCCESS;
}

void *switch_channel_get_private(switch_channel_t *channel, const char *key)
{
	mutex_lock(channel->profile_mutex);
	struct channel_private *found = channel->privates;
	while (found && strcmp(found->key, key)) {
		found = found->next;
	}
	const void *pointer = found ? found->pointer : NULL;
	mutex_unlock(channel->profile_mutex);
	return (void *)pointer;
}

void channel_queue_dtmf(switch_channel_t *channel, const switch_dtmf_t *dtmf)
{
	switch_core_session_t *session = channel->session;
	mutex_lock(channel->dtmf_mutex);
	switch_status_t status = channel_down(channel) ? SWITCH_STATUS_FALSE : SWITCH_STATUS_SUCCESS;
	struct hook *hook = hook_after(session, &session->recv_dtmf_hooks);
	for (; hook && status == SWITCH_STATUS_SUCCESS; hook = hook_after(session, &hook->next)) {
		switch_dtmf_t copy = *dtmf;
		status = hook->function.recv_dtmf(session, &copy, SWITCH_DTMF_RECV);
	}
	if (status == SWITCH_STATUS_SUCCESS) {
		buffer_write(&channel->digits, &dtmf->digit, 1);
	}
	mutex_unlock(channel->dtmf_mutex);
}

/* The SIP endpoint's. */
uint32_t switch_channel_test_cap(switch_channel_t *channel, switch_channel_cap_t cap)
{
	(void)channel;
	return cap == CC_QUEUEABLE_DTMF_DELAY;
}

uint32_t switch_channel_test_flag(switch_channel_t *channel, switch_channel_flag_t flag)
{
	return channel->flags[flag];
}

int switch_channel_test_ready(switch_channel_t *channel, switch_bool_t check_ready, switch_bool_t check_media)
{
	if (check_media) {
		int media = (channel->flags[CF_ANSWERED] || channel->flags[CF_EARLY_MEDIA]) && !channel->flags[CF_PROXY_MODE] &&
					!channel->session->codec_unsettled;
		if (!media || !check_ready) {
			return media;
		}
	} else if (!check_ready) {
		return 0;
	}
	int state = channel->state;
	return !channel->hangup_cause && state > CS_ROUTING && state < CS_HANGUP && state != CS_RESET &&
		   !channel->flags[CF_TRANSFER];
}

switch_channel_state_t switch_channel_get_state(switch_channel_t *channel)
{
	return (switch_channel_state_t)channel->state;
}

int switch_channel_check_signal(switch_channel_t *channel, switch_bool_t in_thread_only)
{
	(void)channel, (void)in_thread_only;
	return 0;
}

switch_channel_state_t switch_channel_perform_hangup(switch_channel_t *channel, const char *file, const char *func, int line,
													 switch_call_cause_t hangup_cause)
{
	(void)file, (void)func, (void)line;
	channel_hangup(channel, hangup_cause);
	return CS_HANGUP;
}

/* Each digit goes to the endpoint, past all hooks unless ~ stands before them. What is no digit is left out. */
switch_status_t switch_core_session_send_dtmf_string(switch_core_session_t *session, const char *dtmf_string)
{
	if (!dtmf_string || !*dtmf_string || strlen(dtmf_string) > 99 || channel_down(session->channel)) {
		return SWITCH_STATUS_FALSE;
	}
	switch_status_t status = SWITCH_STATUS_FALSE;
	for (const char *digit = dtmf_string; *digit; digit++) {
		switch_dtmf_t dtmf = {.digit = *digit, .duration = 2000};
		if (strchr("0123456789ABCDabcd*#wW", *digit) && endpoint_send_dtmf(session, &dtmf) == SWITCH_STATUS_SUCCESS) {
			status = SWITCH_STATUS_SUCCESS;
		}
	}
	return status;
}

/* FreeSWITCH takes the call into the dialplan again; this host has none, so the destination stays on the channel. */
switch_status_t switch_ivr_session_transfer(switch_core_session_t *session, const char *extension, const char *dialplan,
											const char *context)
{
	if (!extension || dialplan || context || channel_down(session->channel)) {
		return SWITCH_STATUS_FALSE;
	}
	switch_channel_set_variable_var_check(session->channel, "host_transferred_to", extension, SWITCH_FALSE);
	return SWITCH_STATUS_SUCCESS;
}

/* This host has no applications: what is queued stays on the channel, and what is run does nothing, except that a bridge may last. */
switch_status_t switch_core_session_execute_application_async(switch_core_session_t *session, const char *app,
															  const char *arg)
{
	if (!app || !arg || channel_down(session->channel)) {
		return SWITCH_STATUS_FALSE;
	}
	switch_channel_set_variable_var_check(session->channel, "host_application", app, SWITCH_FALSE);
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_core_session_execute_application_get_flags(switch_core_session_t *session, const char *app,
																  const char *arg, int32_t *flags)
{
	(void)arg, (void)flags;
	if (strcmp(app, "bridge")) {
		return SWITCH_STATUS_SUCCESS;
	}
	/* It lasts as long as two people talk: until the test says otherwise. */
	bool lasts = true;
	while (lasts && !channel_down(session->channel)) {
		mutex_lock(session->channel->profile_mutex);
		const char *value = variable(session->channel, "host_bridge");
		lasts = value && !strcmp(value, "lasts");
		mutex_unlock(session->channel->profile_mutex);
		sleep_until_ns(now_ns() + 1000000);
	}
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_channel_perform_answer(switch_channel_t *channel, const char *file, const char *func, int line)
{
	switch_status_t status = switch_channel_perform_pre_answer(channel, file, func, line);

	if (status == SWITCH_STATUS_SUCCESS) {
		channel->flags[CF_ANSWERED] = 1;
	}
	return status;
}

switch_status_t switch_channel_perform_pre_answer(switch_channel_t *channel, const char *file, const char *func,
												  int line)
{
	(void)file, (void)func, (void)line;
	if (channel->hangup_cause || channel_down(channel)) {
		return SWITCH_STATUS_FALSE;
	}
	if (channel->flags[CF_ANSWERED] || channel->flags[CF_EARLY_MEDIA]) {
		return SWITCH_STATUS_SUCCESS;
	}
	if (channel->refuses_media) {
		channel_hangup(channel, 88);
		return SWITCH_STATUS_FALSE;
	}
	channel->flags[CF_EARLY_MEDIA] = 1;
	return SWITCH_STATUS_SUCCESS;
}

char *switch_channel_get_name(switch_channel_t *channel)
{
	return channel->name;
}

char *switch_channel_get_uuid(switch_channel_t *channel)
{
	return channel->uuid;
}

switch_core_session_t *switch_channel_get_session(switch_channel_t *channel)
{
	return channel->session;
}

void switch_channel_event_set_data(switch_channel_t *channel, switch_event_t *event)
{
	static const char *const states[] = {"CS_NEW",	 "CS_INIT", "CS_ROUTING",		"CS_SOFT_EXECUTE", "CS_EXECUTE", "CS_EXCHANGE_MEDIA",
										 "CS_PARK", "CS_CONSUME_MEDIA", "CS_HIBERNATE", "CS_RESET",		   "CS_HANGUP",	 "CS_REPORTING",
										 "CS_DESTROY", "CS_NONE"};
	switch_event_add_header_string(event, SWITCH_STACK_BOTTOM, "Channel-State", states[channel->state]);
	switch_event_add_header_string(event, SWITCH_STACK_BOTTOM, "Channel-Name", channel->name);
	switch_event_add_header_string(event, SWITCH_STACK_BOTTOM, "Unique-ID", channel->uuid);
	mutex_lock(channel->profile_mutex);
	for (struct event_header *header = channel->variables->headers; header; header = header->next) {
		char name[256];
		snprintf(name, sizeof(name), "variable_%s", header->name);
		switch_event_add_header_string(event, SWITCH_STACK_BOTTOM, name, header->value);
	}
	mutex_unlock(channel->profile_mutex);
}
