/**
 * Hands people's changes to omsync's API. Runs as the integration user, who alone may use the credential
 * (PlatformEventSubscriberConfigs/RecordChangedSubscriber). A trigger may not call out: ChangeNotice does, in a job.
 */
trigger RecordChangedSubscriber on Record_Changed__e (after insert) {
    try {
        ChangeNotice.enqueue(Trigger.new);
    } catch (AsyncException noJobLeft) {
        // The batch comes again, later each time; past that the sweep takes over.
        if (EventBus.TriggerContext.currentContext().retries < 5) {
            throw new EventBus.RetryableException(noJobLeft.getMessage());
        }
    }
}
