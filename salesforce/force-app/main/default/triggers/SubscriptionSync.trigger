/** Counts, stamps and announces what people change; see SharedRecords. */
trigger SubscriptionSync on Subscription__c (before insert, before update, after insert, after update, after delete, after undelete) {
    SharedRecords.handle();
}
