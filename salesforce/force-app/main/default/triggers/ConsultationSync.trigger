/** Counts, stamps and announces what people change; see SharedRecords. */
trigger ConsultationSync on Consultation__c (before insert, before update, after insert, after update, after delete, after undelete) {
    SharedRecords.handle();
}
