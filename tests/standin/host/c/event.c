/* Events, their queue and its one delivering thread, reserved subclasses. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct subclass {
	char *name, *owner;
	struct subclass *next;
};

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	switch_event_t *first, **last;
	uint64_t fired, delivered;
	struct subclass *subclasses;
	host_event_sink sink;
	void *sink_data;
} events = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void events_set_sink(host_event_sink sink, void *data);

void events_set_sink(host_event_sink sink, void *data)
{
	events.sink = sink;
	events.sink_data = data;
}

/* Listeners, by kind of event, and by subclass where they name one. */
struct switch_event_node {
	switch_event_types_t kind;
	char *subclass;
	switch_event_callback_t callback;
	struct switch_event_node *next;
};

static struct {
	pthread_rwlock_t lock;
	struct switch_event_node *first;
} listeners = {.lock = PTHREAD_RWLOCK_INITIALIZER};

static void tell_listeners(switch_event_t *event)
{
	pthread_rwlock_rdlock(&listeners.lock);
	for (struct switch_event_node *node = listeners.first; node; node = node->next) {
		if (node->kind == event->event_id &&
			(!node->subclass || (event->subclass && !strcmp(node->subclass, event->subclass)))) {
			node->callback(event);
		}
	}
	pthread_rwlock_unlock(&listeners.lock);
}

static void deliver(switch_event_t *event)
{
	tell_listeners(event);
	/* The test sees what the module fires; what it fired itself it knows. */
	if (event->of_the_test) {
		return;
	}
	const char *names[512], *values[512];
	size_t count = 0;
	for (struct event_header *header = event->headers; header && count < 512; header = header->next) {
		names[count] = header->name;
		values[count++] = header->value;
	}
	events.sink(events.sink_data, event->subclass, names, values, count, event->body, event->in_media_callback);
}

static void *deliver_forever(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&events.mutex);
	for (;;) {
		switch_event_t *event = events.first;
		if (!event) {
			pthread_cond_wait(&events.changed, &events.mutex);
			continue;
		}
		if (!(events.first = event->next)) {
			events.last = &events.first;
		}
		pthread_mutex_unlock(&events.mutex);
		deliver(event);
		switch_event_destroy(&event);
		pthread_mutex_lock(&events.mutex);
		events.delivered++;
		pthread_cond_broadcast(&events.changed);
	}
	return NULL;
}

void events_start(void)
{
	pthread_t thread;
	events.last = &events.first;
	if (thread_start(&thread, "events", deliver_forever, NULL)) {
		abort();
	}
	pthread_detach(thread);
}

void host_flush_events(void)
{
	pthread_mutex_lock(&events.mutex);
	uint64_t target = events.fired;
	while (events.delivered < target) {
		pthread_cond_wait(&events.changed, &events.mutex);
	}
	pthread_mutex_unlock(&events.mutex);
}

static struct subclass **find_subclass(const char *name)
{
	struct subclass **place = &events.subclasses;
	while (*place && strcmp((*place)->name, name)) {
		place = &(*place)->next;
	}
	return place;
}

switch_status_t switch_event_reserve_subclass_detailed(const char *owner, const char *subclass_name)
{
	switch_status_t status = SWITCH_STATUS_INUSE;
	pthread_mutex_lock(&events.mutex);
	struct subclass **place = find_subclass(subclass_name);
	if (!*place) {
		*place = calloc(1, sizeof(**place));
		(*place)->name = strdup(subclass_name);
		(*place)->owner = strdup(owner);
		status = SWITCH_STATUS_SUCCESS;
	}
	pthread_mutex_unlock(&events.mutex);
	return status;
}

switch_status_t switch_event_free_subclass_detailed(const char *owner, const char *subclass_name)
{
	switch_status_t status = SWITCH_STATUS_FALSE;
	pthread_mutex_lock(&events.mutex);
	struct subclass **place = find_subclass(subclass_name), *found = *place;
	if (found && !strcmp(found->owner, owner)) {
		*place = found->next;
		free(found->name);
		free(found->owner);
		free(found);
		status = SWITCH_STATUS_SUCCESS;
	}
	pthread_mutex_unlock(&events.mutex);
	return status;
}

char *host_subclasses(void)
{
	char *text = strdup("");
	size_t length = 0;
	pthread_mutex_lock(&events.mutex);
	for (struct subclass *subclass = events.subclasses; subclass; subclass = subclass->next) {
		text_append(&text, &length, "%s %s\n", subclass->name, subclass->owner);
	}
	pthread_mutex_unlock(&events.mutex);
	return text;
}

switch_status_t switch_event_create_subclass_detailed(const char *file, const char *func, int line,
													  switch_event_t **event, switch_event_types_t event_id,
													  const char *subclass_name)
{
	*event = NULL;
	if (event_id != SWITCH_EVENT_CLONE && event_id != SWITCH_EVENT_CUSTOM && subclass_name) {
		return SWITCH_STATUS_GENERR;
	}
	*event = calloc(1, sizeof(**event));
	(*event)->event_id = event_id;
	if (event_id != SWITCH_EVENT_CLONE) {
		char number[16];
		snprintf(number, sizeof(number), "%d", line);
		switch_event_add_header_string(*event, SWITCH_STACK_BOTTOM, "Event-Name", "CUSTOM");
		switch_event_add_header_string(*event, SWITCH_STACK_BOTTOM, "Event-Calling-File", file ? file : "");
		switch_event_add_header_string(*event, SWITCH_STACK_BOTTOM, "Event-Calling-Function", func ? func : "");
		switch_event_add_header_string(*event, SWITCH_STACK_BOTTOM, "Event-Calling-Line-Number", number);
	}
	if (subclass_name) {
		(*event)->subclass = strdup(subclass_name);
		switch_event_add_header_string(*event, SWITCH_STACK_BOTTOM, "Event-Subclass", subclass_name);
	}
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_event_add_header_string(switch_event_t *event, switch_stack_t stack, const char *header_name,
											   const char *data)
{
	if (!data) {
		return SWITCH_STATUS_GENERR;
	}
	struct event_header *header = calloc(1, sizeof(*header)), **place = &event->headers;
	header->name = strdup(header_name);
	header->value = strdup(data);
	while (*place && !(stack & SWITCH_STACK_TOP)) {
		place = &(*place)->next;
	}
	header->next = *place;
	*place = header;
	return SWITCH_STATUS_SUCCESS;
}

char *switch_event_get_header_idx(switch_event_t *event, const char *header_name, int idx)
{
	for (struct event_header *header = event->headers; header && idx <= 0; header = header->next) {
		if (!strcasecmp(header->name, header_name)) {
			return header->value;
		}
	}
	return NULL;
}

switch_status_t switch_event_set_body(switch_event_t *event, const char *body)
{
	free(event->body);
	event->body = body ? strdup(body) : NULL;
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_event_add_body(switch_event_t *event, const char *fmt, ...)
{
	char *body = NULL;
	va_list arguments;
	va_start(arguments, fmt);
	int size = vasprintf(&body, fmt, arguments);
	va_end(arguments);
	if (size < 0) {
		return SWITCH_STATUS_GENERR;
	}
	free(event->body);
	event->body = body;
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_event_dup(switch_event_t **event, switch_event_t *todup)
{
	if (switch_event_create_subclass_detailed(NULL, NULL, 0, event, SWITCH_EVENT_CLONE, todup->subclass) !=
		SWITCH_STATUS_SUCCESS) {
		return SWITCH_STATUS_GENERR;
	}
	(*event)->event_id = todup->event_id;
	for (struct event_header *header = todup->headers; header; header = header->next) {
		if (!todup->subclass || strcmp(header->name, "Event-Subclass")) {
			switch_event_add_header_string(*event, SWITCH_STACK_BOTTOM, header->name, header->value);
		}
	}
	return switch_event_set_body(*event, todup->body);
}

switch_status_t switch_event_del_header_val(switch_event_t *event, const char *header_name, const char *val)
{
	switch_status_t status = SWITCH_STATUS_FALSE;
	for (struct event_header **place = &event->headers; *place;) {
		struct event_header *header = *place;
		if (strcasecmp(header->name, header_name) || (val && strcmp(header->value, val))) {
			place = &header->next;
			continue;
		}
		*place = header->next;
		free(header->name);
		free(header->value);
		free(header);
		status = SWITCH_STATUS_SUCCESS;
	}
	return status;
}

void switch_event_merge(switch_event_t *event, switch_event_t *tomerge)
{
	for (struct event_header *header = tomerge->headers; header; header = header->next) {
		switch_event_add_header_string(event, SWITCH_STACK_BOTTOM, header->name, header->value);
	}
}

switch_status_t switch_event_bind_removable(const char *id, switch_event_types_t event, const char *subclass_name,
											switch_event_callback_t callback, void *user_data,
											switch_event_node_t **node)
{
	(void)id, (void)user_data;
	struct switch_event_node *made = calloc(1, sizeof *made);
	if (!made) {
		return SWITCH_STATUS_MEMERR;
	}
	made->kind = event;
	made->subclass = subclass_name ? strdup(subclass_name) : NULL;
	made->callback = callback;
	pthread_rwlock_wrlock(&listeners.lock);
	made->next = listeners.first;
	listeners.first = made;
	pthread_rwlock_unlock(&listeners.lock);
	*node = made;
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_event_unbind(switch_event_node_t **node)
{
	pthread_rwlock_wrlock(&listeners.lock);
	for (struct switch_event_node **place = &listeners.first; *place; place = &(*place)->next) {
		if (*place == *node) {
			*place = (*node)->next;
			free((*node)->subclass);
			free(*node);
			*node = NULL;
			break;
		}
	}
	pthread_rwlock_unlock(&listeners.lock);
	return *node ? SWITCH_STATUS_FALSE : SWITCH_STATUS_SUCCESS;
}

void host_reload_xml(void)
{
	switch_event_t *event = NULL;
	switch_event_create_subclass_detailed("host", "reload", 0, &event, SWITCH_EVENT_RELOADXML, NULL);
	tell_listeners(event);
	switch_event_destroy(&event);
}

void host_fire_event(int kind, const char *subclass, const char *const *names, const char *const *values, size_t count)
{
	switch_event_t *event = NULL;
	if (switch_event_create_subclass_detailed("host", "fire", 0, &event, (switch_event_types_t)kind, subclass) !=
		SWITCH_STATUS_SUCCESS) {
		abort();
	}
	event->of_the_test = true;
	for (size_t index = 0; index < count; index++) {
		switch_event_add_header_string(event, SWITCH_STACK_BOTTOM, names[index], values[index]);
	}
	switch_event_fire_detailed("host", "fire", 0, &event, NULL);
}

switch_status_t switch_event_fire_detailed(const char *file, const char *func, int line, switch_event_t **event,
										   void *user_data)
{
	(void)file, (void)func, (void)line, (void)user_data;
	switch_event_t *fired = *event;
	*event = NULL;
	fired->next = NULL;
	fired->in_media_callback = in_media_callback != 0;
	pthread_mutex_lock(&events.mutex);
	*events.last = fired;
	events.last = &fired->next;
	events.fired++;
	pthread_cond_broadcast(&events.changed);
	pthread_mutex_unlock(&events.mutex);
	return SWITCH_STATUS_SUCCESS;
}

void switch_event_destroy(switch_event_t **event)
{
	switch_event_t *doomed = *event;
	*event = NULL;
	if (!doomed) {
		return;
	}
	for (struct event_header *header = doomed->headers, *next; header; header = next) {
		next = header->next;
		free(header->name);
		free(header->value);
		free(header);
	}
	free(doomed->subclass);
	free(doomed->body);
	free(doomed);
}
