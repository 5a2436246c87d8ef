/* A module that writes down what the stand-in host calls it with, for tests/standin_exclusive/selftest.rs. */
#include "../c/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *trace;
static size_t trace_length;
static switch_loadable_module_interface_t *interface;

struct attachment {
	char name[32], mode[32];
	switch_media_bug_t *bug;
	uint32_t calls;
};
static struct attachment *attachments[32];

static void note(const struct attachment *attachment, const char *what)
{
	pthread_mutex_lock(&mutex);
	text_append(&trace, &trace_length, "%s %s\n", attachment->name, what);
	pthread_mutex_unlock(&mutex);
}

static void note_read(switch_media_bug_t *bug, struct attachment *attachment)
{
	_Alignas(8) uint8_t data[SWITCH_RECOMMENDED_BUFFER_SIZE * 2];
	switch_frame_t frame = {.data = data, .buflen = sizeof(data)};
	/* Does not wait for the other direction, except once: without anything to read it would be filled in without end. */
	switch_bool_t fill = SWITCH_FALSE;
	for (; switch_core_media_bug_read(bug, &frame, fill) == SWITCH_STATUS_SUCCESS; fill = SWITCH_TRUE) {
		const int16_t *samples = frame.data;
		char line[128];
		snprintf(line, sizeof(line), "READ rate=%u channels=%u samples=%u bytes=%u lanes=%d,%d,%d,%d", frame.rate,
				 frame.channels, frame.samples, frame.datalen, samples[0], samples[1], samples[2], samples[3]);
		note(attachment, line);
	}
}

static switch_bool_t callback(switch_media_bug_t *bug, void *user_data, switch_abc_type_t type)
{
	struct attachment *attachment = user_data;
	const char *mode = attachment->mode;
	switch (type) {
	case SWITCH_ABC_TYPE_INIT:
		note(attachment, "INIT");
		return strcmp(mode, "refuse") ? SWITCH_TRUE : SWITCH_FALSE;
	case SWITCH_ABC_TYPE_READ:
		note_read(bug, attachment);
		return strcmp(mode, "end_on_read") ? SWITCH_TRUE : SWITCH_FALSE;
	case SWITCH_ABC_TYPE_WRITE_REPLACE: {
		switch_frame_t *frame = switch_core_media_bug_get_write_replace_frame(bug);
		int16_t *samples = frame->data;
		char line[64];
		snprintf(line, sizeof(line), "WRITE_REPLACE samples=%u first=%d", frame->samples, samples[0]);
		note(attachment, line);
		for (uint32_t i = 0; i < frame->datalen / 2; i++) {
			samples[i] = (int16_t)(!strcmp(mode, "double") ? samples[i] * 2 : !strcmp(mode, "add") ? samples[i] + 1 : samples[i]);
		}
		if (!strcmp(mode, "chatter")) {
			switch_log_printf(SWITCH_CHANNEL_ID_LOG, __FILE__, __func__, __LINE__, NULL, SWITCH_LOG_INFO, "%s", "chatter");
		}
		return strcmp(mode, "end_on_write") ? SWITCH_TRUE : SWITCH_FALSE;
	}
	case SWITCH_ABC_TYPE_CLOSE: {
		switch_core_session_t *session = switch_core_media_bug_get_session(bug);
		bool listed = false, free = pthread_rwlock_tryrdlock(&session->bug_rwlock) == 0;
		for (switch_media_bug_t *each = session->bugs; each; each = each->next) {
			listed = listed || each == bug;
		}
		if (free) {
			pthread_rwlock_unlock(&session->bug_rwlock);
		}
		char line[64];
		snprintf(line, sizeof(line), "CLOSE %s %s", free ? "unlocked" : "locked", listed ? "listed" : "unlisted");
		note(attachment, line);
		attachment->bug = NULL;
		return SWITCH_TRUE;
	}
	default:
		return SWITCH_TRUE;
	}
}

static struct attachment *find(const char *name, bool create)
{
	for (size_t i = 0; i < sizeof(attachments) / sizeof(*attachments); i++) {
		if (!attachments[i] && create) {
			attachments[i] = calloc(1, sizeof(**attachments));
			snprintf(attachments[i]->name, sizeof(attachments[i]->name), "%s", name);
		}
		if (attachments[i] && !strcmp(attachments[i]->name, name)) {
			return attachments[i];
		}
	}
	return NULL;
}

/* trace | lock | unlock | echo <text> | <uuid> add <name> <flags> <mode> | <uuid> remove <name> */
static switch_status_t api(const char *cmd, switch_core_session_t *none, switch_stream_handle_t *stream)
{
	(void)none;
	char uuid[64] = "", verb[32] = "", name[32] = "", mode[32] = "";
	unsigned flags = 0;
	if (!strcmp(cmd, "trace")) {
		pthread_mutex_lock(&mutex);
		stream->write_function(stream, "%s", trace ? trace : "");
		pthread_mutex_unlock(&mutex);
		return SWITCH_STATUS_SUCCESS;
	}
	if (!strcmp(cmd, "lock")) {
		switch_thread_rwlock_rdlock(interface->rwlock);
		stream->write_function(stream, "+OK %s\n", "locked");
		return SWITCH_STATUS_SUCCESS;
	}
	if (!strcmp(cmd, "unlock")) {
		switch_thread_rwlock_unlock(interface->rwlock);
		return SWITCH_STATUS_SUCCESS;
	}
	if (!strncmp(cmd, "echo ", 5)) {
		stream->write_function(stream, "[%s] %d", cmd + 5, 7);
		return SWITCH_STATUS_SUCCESS;
	}
	sscanf(cmd, "%63s %31s %31s %u %31s", uuid, verb, name, &flags, mode);
	switch_core_session_t *session = switch_core_session_perform_locate(uuid, __FILE__, __func__, __LINE__);
	if (!session) {
		stream->write_function(stream, "-ERR No such channel!\n");
		return SWITCH_STATUS_SUCCESS;
	}
	switch_status_t status = SWITCH_STATUS_FALSE;
	if (!strcmp(verb, "add")) {
		struct attachment *attachment = find(name, true);
		snprintf(attachment->mode, sizeof(attachment->mode), "%s", mode);
		status = switch_core_media_bug_add(session, "selftest", name, callback, attachment, 0, flags, &attachment->bug);
	} else if (find(name, false)->bug) {
		status = switch_core_media_bug_remove(session, &find(name, false)->bug);
	}
	switch_core_session_rwunlock(session);
	stream->write_function(stream, "%s\n", status == SWITCH_STATUS_SUCCESS ? "+OK" : "-ERR");
	return SWITCH_STATUS_SUCCESS;
}

/* Reads `data` frames on the session's thread, and fires an event when done. */
static void application(switch_core_session_t *session, const char *data)
{
	switch_channel_t *channel = switch_core_session_get_channel(session);
	int wanted = atoi(data), frames = 0;
	switch_frame_t *frame = NULL;
	while (frames < wanted && switch_channel_test_ready(channel, SWITCH_TRUE, SWITCH_TRUE) &&
		   switch_core_session_read_frame(session, &frame, SWITCH_IO_FLAG_NONE, 0) == SWITCH_STATUS_SUCCESS) {
		frames++;
	}
	char value[16];
	snprintf(value, sizeof(value), "%d", frames);
	switch_channel_set_variable_var_check(channel, "selftest_frames", value, SWITCH_TRUE);
	switch_channel_set_variable_var_check(channel, "selftest_expanded", "${uuid}", SWITCH_TRUE);
	switch_event_t *event = NULL;
	switch_event_create_subclass_detailed(__FILE__, __func__, __LINE__, &event, SWITCH_EVENT_CUSTOM, "selftest::done");
	switch_channel_event_set_data(channel, event);
	switch_event_add_body(event, "{\"frames\":%d}", frames);
	switch_event_fire_detailed(__FILE__, __func__, __LINE__, &event, NULL);
}

static switch_status_t load(switch_loadable_module_interface_t **module_interface, switch_memory_pool_t *pool)
{
	switch_xml_t configuration = NULL, root = switch_xml_open_cfg("selftest.conf", &configuration, NULL);
	for (switch_xml_t param = switch_xml_child(switch_xml_child(configuration, "settings"), "param"); param;
		 param = param->next) {
		switch_log_printf(SWITCH_CHANNEL_ID_LOG, __FILE__, __func__, __LINE__, NULL, SWITCH_LOG_NOTICE, "%s=%s",
						  switch_xml_attr_soft(param, "name"), switch_xml_attr_soft(param, "value"));
	}
	switch_xml_free(root);
	if (switch_event_reserve_subclass_detailed("selftest", "selftest::done") != SWITCH_STATUS_SUCCESS) {
		return SWITCH_STATUS_GENERR;
	}
	*module_interface = interface = switch_loadable_module_create_module_interface(pool, "mod_selftest");
	switch_api_interface_t *command = switch_loadable_module_create_interface(interface, SWITCH_API_INTERFACE);
	command->interface_name = "selftest";
	command->desc = "self-test of the stand-in host";
	command->function = api;
	command->syntax = "<uuid> add|remove";
	switch_application_interface_t *app = switch_loadable_module_create_interface(interface, SWITCH_APPLICATION_INTERFACE);
	app->interface_name = "selftest_read";
	app->application_function = application;
	app->syntax = "<frames>";
	switch_console_set_complete("add selftest ::console::list_uuid add");
	switch_console_set_complete("add selftest trace");
	return SWITCH_STATUS_SUCCESS;
}

static switch_status_t shutdown(void)
{
	switch_console_set_complete("del selftest");
	switch_event_free_subclass_detailed("selftest", "selftest::done");
	for (size_t i = 0; i < sizeof(attachments) / sizeof(*attachments); i++) {
		free(attachments[i]);
		attachments[i] = NULL;
	}
	free(trace);
	trace = NULL;
	trace_length = 0;
	return SWITCH_STATUS_SUCCESS;
}

switch_loadable_module_function_table_t mod_selftest_module_interface = {
	.switch_api_version = SWITCH_API_VERSION, .load = load, .shutdown = shutdown};
