/* Services that belong to no call: log, global variables, console completions, version, and starting it all. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void events_set_sink(host_event_sink sink, void *data);

struct line {
	char *text;
	struct line *next;
};

static struct {
	pthread_mutex_t mutex;
	host_log_sink log_sink;
	void *sink_data;
	switch_event_t *globals;
	struct line *completions;
	/* Lines above are thrown away, and counted. */
	atomic_int log_level, unwanted;
} core = {.mutex = PTHREAD_MUTEX_INITIALIZER, .log_level = SWITCH_LOG_DEBUG};

int32_t switch_core_session_ctl(switch_session_ctl_t cmd, void *val)
{
	int *level = val;
	if (cmd != SCSC_LOGLEVEL) {
		abort();
	}
	if (*level >= SWITCH_LOG_DISABLE) {
		core.log_level = *level;
	}
	*level = core.log_level;
	return 0;
}

void host_set_log_level(int level)
{
	core.unwanted = 0;
	switch_core_session_ctl(SCSC_LOGLEVEL, &level);
}

int host_unwanted_lines(void)
{
	return core.unwanted;
}

void host_start(host_log_sink log_sink, host_event_sink event_sink, void *data)
{
	core.log_sink = log_sink;
	core.sink_data = data;
	switch_event_create_subclass_detailed(NULL, NULL, 0, &core.globals, SWITCH_EVENT_CLONE, NULL);
	events_set_sink(event_sink, data);
	events_start();
}

void switch_log_printf(switch_text_channel_t channel, const char *file, const char *func, int line,
					   const char *userdata, switch_log_level_t level, const char *fmt, ...)
{
	(void)func;
	char *text = NULL;
	if ((int)level > core.log_level) {
		core.unwanted++;
		return;
	}
	va_list arguments;
	va_start(arguments, fmt);
	int size = vasprintf(&text, fmt, arguments);
	va_end(arguments);
	if (size < 0) {
		return;
	}
	const char *uuid = userdata;
	if (channel == SWITCH_CHANNEL_ID_SESSION && userdata) {
		uuid = switch_core_session_get_uuid((switch_core_session_t *)userdata);
	}
	core.log_sink(core.sink_data, (int)level, uuid, file, line, text, in_media_callback != 0);
	free(text);
}

void host_set_global(const char *name, const char *value)
{
	pthread_mutex_lock(&core.mutex);
	switch_event_add_header_string(core.globals, SWITCH_STACK_TOP, name, value);
	pthread_mutex_unlock(&core.mutex);
}

char *switch_core_get_variable_dup(const char *varname)
{
	pthread_mutex_lock(&core.mutex);
	const char *value = varname ? switch_event_get_header_idx(core.globals, varname, -1) : NULL;
	char *copy = value ? strdup(value) : NULL;
	pthread_mutex_unlock(&core.mutex);
	return copy;
}

static void remove_completions(const char *prefix)
{
	size_t length = strlen(prefix);
	for (struct line **place = &core.completions; *place;) {
		struct line *line = *place;
		bool matches = !strncmp(line->text, prefix, length) && (!line->text[length] || line->text[length] == ' ');
		if (matches || !strcmp(prefix, "*")) {
			*place = line->next;
			free(line->text);
			free(line);
		} else {
			place = &line->next;
		}
	}
}

switch_status_t switch_console_set_complete(const char *string)
{
	const char *words = strchr(string, ' ');
	if (!words) {
		return SWITCH_STATUS_FALSE;
	}
	size_t verb = (size_t)(words - string);
	words++;
	switch_status_t status = SWITCH_STATUS_SUCCESS;
	pthread_mutex_lock(&core.mutex);
	if (!strncmp(string, "add", verb) || !strncmp(string, "stickyadd", verb)) {
		struct line **place = &core.completions;
		while (*place) {
			place = &(*place)->next;
		}
		*place = calloc(1, sizeof(**place));
		(*place)->text = strdup(words);
	} else if (!strncmp(string, "del", verb)) {
		remove_completions(words);
	} else {
		status = SWITCH_STATUS_FALSE;
	}
	pthread_mutex_unlock(&core.mutex);
	return status;
}

char *host_completions(void)
{
	char *text = strdup("");
	size_t length = 0;
	pthread_mutex_lock(&core.mutex);
	for (struct line *line = core.completions; line; line = line->next) {
		text_append(&text, &length, "%s\n", line->text);
	}
	pthread_mutex_unlock(&core.mutex);
	return text;
}

const char *switch_version_full(void)
{
	return "1.11.2-stand-in";
}
